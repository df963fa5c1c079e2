"""Whether a kind of model would know a class that it never met: heads fitted without each class in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.unknown import detection_report
from pecmae.prototypes.calibration import class_radii, track_strangeness
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.fitting import HEAD_SETTINGS, fit_head
from pecmae.training.settings import TrainingSettings


def leave_one_class_out(
    config: PrototypeHeadConfig,
    labels: Sequence[str],
    train: EmbeddedTracks,
    tests: Mapping[str, EmbeddedTracks],
    *,
    validation: EmbeddedTracks | None = None,
    settings: TrainingSettings = HEAD_SETTINGS,
) -> dict[str, dict[str, dict[str, float]]]:
    """Fit a head without each class in turn, and see whether it calls the tracks of that class stranger than the others.

    Parameters
    ----------
    config : PrototypeHeadConfig
        Of the head that knows all classes, as many prototypes of each.
    labels : sequence of str
    train, validation : EmbeddedTracks
        With tracks of all classes; the head of each fit is the one of the lowest loss on `validation`, where that is given.
    tests : mapping of name to EmbeddedTracks
        Tracks that nothing was fitted to.
    settings : TrainingSettings

    Returns
    -------
    dict
        By the name of each set of tests: `detection_report` by strangeness, by the name of the class that was left out; of
        those that have tracks in it.
    """
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in tests}
    smaller = replace(config, num_classes=len(labels) - 1)
    for number, label in enumerate(labels):
        without = _without_class(train, number)
        held = None if validation is None else _without_class(validation, number)
        head, _ = fit_head(without, smaller, settings, validation=held)
        radii = class_radii(head, without.whole())
        for name, test in tests.items():
            out = (test.track_labels == number).numpy()
            if out.any() and not out.all():
                strangeness = track_strangeness(head, test, radii)
                found[name][label] = detection_report(strangeness[~out], strangeness[out])
    return found


def mean_auroc(reports: Mapping[str, Mapping[str, float]]) -> float:
    """Mean over the classes of one set of tests, as `leave_one_class_out` returns them."""
    return float(np.mean([report["auroc"] for report in reports.values()]))


def _without_class(tracks: EmbeddedTracks, number: int) -> EmbeddedTracks:
    """Tracks of the other classes, whose numbers follow each other."""
    kept = tracks.chosen(tracks.track_labels != number)
    return replace(kept, track_labels=kept.track_labels - (kept.track_labels > number).long())
