"""How good a model is on labelled tracks.

Shapes: N tracks, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pecmae.core.tables import data_frame
from pecmae.data.tracks import EmbeddedTracks
from pecmae.hub.cards import Measurement, dataset_type
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.notebook import score_bars

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

CALIBRATION_BINS = 10
BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a model answered for labelled tracks."""

    labels: tuple[str, ...]
    # Of the tracks, for people.
    names: tuple[str, ...]
    # Indices into labels [shape=(N,)].
    true: np.ndarray
    predicted: np.ndarray
    # Of the predicted class [shape=(N,)].
    scores: np.ndarray
    # Path → what was wrong with it; not counted.
    failed: dict[str, str]
    # Of every class [shape=(N, C)]; None where they were not kept.
    class_scores: np.ndarray | None = None

    @cached_property
    def confusion(self) -> np.ndarray:
        """Tracks of each class (rows) that got each label (columns) [shape=(C, C)]."""
        from sklearn.metrics import confusion_matrix

        return confusion_matrix(self.true, self.predicted, labels=range(len(self.labels)))

    @property
    def recalls(self) -> dict[str, float]:
        """Share of each class's tracks that got its label; classes without tracks are left out."""
        counts = self.confusion.sum(1)
        hits = self.confusion.diagonal()
        return {name: float(hits[i] / counts[i]) for i, name in enumerate(self.labels) if counts[i]}

    @property
    def not_measured(self) -> tuple[str, ...]:
        """Classes without tracks: nothing is known of them."""
        return tuple(name for name, count in zip(self.labels, self.confusion.sum(1), strict=True) if not count)

    @property
    def mean_recall(self) -> float:
        """Mean of the recalls of the classes that have tracks."""
        return float(np.mean(list(self.recalls.values())))

    @property
    def accuracy(self) -> float | None:
        """Class-normalised accuracy: `mean_recall`, or None for fewer than two classes, with nothing to tell apart."""
        return self.mean_recall if len(self.recalls) > 1 else None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Bootstrap interval of `accuracy`: tracks are drawn again within each class (seeded)."""
        if self.accuracy is None:
            return None
        draws = np.random.default_rng(0)
        hits = self.true == self.predicted
        # The number of hits among n tracks drawn again is binomial: no need to draw them one by one.
        samples = [
            draws.binomial(n, hits[self.true == label].mean(), BOOTSTRAP_SAMPLES) / n
            for label in np.unique(self.true)
            if (n := int((self.true == label).sum()))
        ]
        low, high = np.quantile(np.mean(samples, axis=0), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the scores, over bins of equal width."""
        hits = self.true == self.predicted
        bins = np.minimum((self.scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        gaps = [abs(hits[bins == b].mean() - self.scores[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
        return float(sum(gaps))

    def measurements(self, dataset: str, split: str, command: str) -> tuple[Measurement, ...]:
        """The figures that a model's card shows, with the command that measures them again."""
        measured = f" ({len(self.recalls)} of {len(self.labels)} classes)" if self.not_measured else ""
        values = {
            "Class-normalised accuracy": ("accuracy", self.accuracy),
            "Expected calibration error": ("ece", self.calibration_error),
        }
        return tuple(
            Measurement(
                value=round(value, 4), metric_name=name + measured, metric_type=kind, dataset_name=dataset,
                dataset_type=dataset_type(dataset), split=split, command=command,
            )
            for name, (kind, value) in values.items()
            if value is not None
        )  # fmt: skip

    def plot(self, *, title: str = "") -> "Figure":
        """Draw the confusion matrix; see `pecmae.evaluation.plots.plot_confusion`."""
        # Imported here: matplotlib is an extra.
        from pecmae.evaluation.plots import plot_confusion

        return plot_confusion(self.confusion, self.labels, title=title or self.title)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each track: its name, its class, the label it got, the score of that, and those of all classes."""
        named = np.array(self.labels)
        columns = {"track": self.names, "true": named[self.true], "predicted": named[self.predicted], "score": self.scores}
        if self.class_scores is not None:
            columns |= {f"score of {label}": self.class_scores[:, index] for index, label in enumerate(self.labels)}
        return data_frame(columns)

    @property
    def title(self) -> str:
        """The accuracy with its interval, and what it leaves out, in a line."""
        interval, missing = self.interval(), len(self.not_measured)
        left_out = f"; {missing} classes have no tracks" if missing else ""
        if self.accuracy is None or interval is None:
            return f"no accuracy{left_out}"
        low, high = (100 * value for value in interval)
        return f"class-normalised accuracy {100 * self.accuracy:.1f} % ({low:.1f} to {high:.1f}){left_out}"

    def __repr__(self) -> str:
        worst = sorted(self.recalls.items(), key=lambda item: item[1])[:3]
        return f"Evaluation of {len(self.true)} tracks: {self.title}\n  least recalled: " + ", ".join(
            f"{name} {value:.2f}" for name, value in worst
        )

    def _repr_html_(self) -> str:
        return f"<b>{self.title}</b>" + score_bars(self.recalls, self.labels, shown=len(self.labels))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        interval = self.interval()
        return {
            "accuracy": self.accuracy,
            "interval_95": list(interval) if interval else None,
            "recalls": self.recalls,
            "not_measured": list(self.not_measured),
            "calibration_error": self.calibration_error,
            "num_tracks": len(self.true),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "failed": self.failed,
        }


@torch.no_grad()
def evaluate_embedded(
    head: PrototypeHead, labels: Sequence[str], tracks: EmbeddedTracks, failed: Mapping[str, str] | None = None
) -> Evaluation:
    """Classify embedded tracks by their averaged logits; `failed` (path → why) are those that could not be embedded."""
    logits = tracks.average(head(tracks.z.to(head.prototypes.device)).cpu())  # (tracks, C)
    predicted = logits.argmax(1)  # scores of a head that nothing is similar to round to the same
    scores = head.scores(logits)  # (tracks, C)
    return Evaluation(
        labels=tuple(labels),
        names=tracks.names or tuple(map(str, range(len(logits)))),
        true=tracks.track_labels.numpy(),
        predicted=predicted.numpy(),
        scores=scores.gather(1, predicted[:, None])[:, 0].numpy(),
        failed=dict(failed or {}),
        class_scores=scores.numpy(),
    )
