"""Whether a model knows what it does not know: sound that is none of its classes, and classes that it never met.

Shapes: N known tracks, U unknown ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pecmae.audio.segments import find_audio_files
from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import ConfigError
from pecmae.model import PECMAE
from pecmae.prototypes.calibration import NOT_CALIBRATED, REFUSED, class_radii, track_strangeness
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.fitting import HEAD_SETTINGS, fit_head
from pecmae.training.settings import TrainingSettings

# Share of the known tracks that is accepted where false positives are counted.
ACCEPTED = 1 - REFUSED


def detection_report(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """How well a number tells the unknown, where it should be larger, from the known.

    Parameters
    ----------
    known, unknown : np.ndarray [shape=(N,) and (U,)]
        Such as unlikeness or strangeness.

    Returns
    -------
    dict
        `auroc`: that of a random unknown track is larger than that of a random known one, ties count half; 0.5 is chance.
        `false_positives`: share of the unknown that is accepted where 95 % of the known are.
    """
    from scipy.stats import mannwhitneyu

    limit = np.quantile(known, ACCEPTED)
    return {
        "auroc": float(mannwhitneyu(unknown, known).statistic / (len(known) * len(unknown))),
        "false_positives": float((unknown <= limit).mean()),
    }


def unknown_report(
    model: PECMAE, known: EmbeddedTracks, sources: Sequence[Path], cache: EmbeddingCache, *, progress: bool = False
) -> dict[str, Any]:
    """Ask a model about sound that is none of its classes.

    Parameters
    ----------
    model : PECMAE
        Calibrated.
    known : EmbeddedTracks
        Tracks of its classes that it has not met.
    sources : sequence of Path
        Files and folders; each is reported apart.
    cache : EmbeddingCache
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    dict
        By the name of each source: the number of `sounds`, how many were called unknown (`refused`, a share), and
        `detection_report` by their unlikeness.

    Raises
    ------
    ConfigError
        The model is not calibrated, or a source holds no audio that can be read.
    """
    calibration = model.calibration
    if calibration is None:
        raise ConfigError(NOT_CALIBRATED)
    of_known = calibration.unlikeness(track_strangeness(model.head, known, calibration.radii))
    found: dict[str, Any] = {}
    for source in sources:
        tracks = cache.embed(find_audio_files([source]), progress=progress)
        answers = [model.classify(track) for track in tracks if isinstance(track, TrackEmbedding)]
        if not answers:
            raise ConfigError(f"{source}: no audio in it can be read; give sounds that are none of the model's classes.")
        unlikeness = np.array([answer.unlikeness for answer in answers])
        found[str(source)] = {
            "sounds": len(answers),
            "refused": float(np.mean([not answer.known for answer in answers])),
            **detection_report(of_known, unlikeness),
        }
    return found


def leave_one_class_out(
    config: PrototypeHeadConfig,
    labels: Sequence[str],
    train: EmbeddedTracks,
    test: EmbeddedTracks,
    *,
    validation: EmbeddedTracks | None = None,
    settings: TrainingSettings = HEAD_SETTINGS,
) -> dict[str, dict[str, float]]:
    """Fit a head without each class in turn, and see whether it calls the tracks of that class stranger than the others.

    Parameters
    ----------
    config : PrototypeHeadConfig
        Of the head that knows all classes, as many prototypes of each.
    labels : sequence of str
    train, test, validation : EmbeddedTracks
        With tracks of all classes; the head of each fit is the one of the lowest loss on `validation`, where that is given.
    settings : TrainingSettings

    Returns
    -------
    dict
        `detection_report` by strangeness, by the name of the class that was left out; of those that have test tracks.
    """
    found = {}
    smaller = replace(config, num_classes=len(labels) - 1)
    for number, label in enumerate(labels):
        out = (test.track_labels == number).numpy()
        if not out.any() or out.all():
            continue
        without = _without_class(train, number)
        held = None if validation is None else _without_class(validation, number)
        head, _ = fit_head(without, smaller, settings, validation=held)
        strangeness = track_strangeness(head, test, class_radii(head, without.whole()))
        found[label] = detection_report(strangeness[~out], strangeness[out])
    return found


def mean_auroc(reports: Mapping[str, Mapping[str, float]]) -> float:
    """Mean over what `leave_one_class_out` returns."""
    return float(np.mean([report["auroc"] for report in reports.values()]))


def _without_class(tracks: EmbeddedTracks, number: int) -> EmbeddedTracks:
    """Tracks of the other classes, whose numbers follow each other."""
    kept = tracks.chosen(tracks.track_labels != number)
    return replace(kept, track_labels=kept.track_labels - (kept.track_labels > number).long())
