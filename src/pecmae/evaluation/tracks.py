"""How good a model is on labelled tracks.

Shapes: N tracks, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from pecmae.data.tracks import EmbeddedTracks
from pecmae.hub.cards import Measurement, dataset_type
from pecmae.prototypes.head import PrototypeHead

CALIBRATION_BINS = 10
BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
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
    scores, predicted = head.scores(logits).max(1)
    names = tracks.names or tuple(map(str, range(len(logits))))
    return Evaluation(tuple(labels), names, tracks.track_labels.numpy(), predicted.numpy(), scores.numpy(), dict(failed or {}))
