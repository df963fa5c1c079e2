"""What an edit does to a model's answers.

Shapes: T tracks, C classes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pecmae.evaluation.tracks import BOOTSTRAP_SAMPLES, Evaluation

LEVEL = 0.95


@dataclass(frozen=True)
class LabelChange:
    """A track that gets another label."""

    track: int
    name: str
    true: str
    before: str
    after: str

    @property
    def verdict(self) -> str:
        """Whether that is "right" now, "wrong" now, or neither was right ("other")."""
        return "right" if self.after == self.true else "wrong" if self.before == self.true else "other"


@dataclass(frozen=True, eq=False)
class Effect:
    """The same tracks before and after."""

    before: Evaluation
    after: Evaluation

    @property
    def accuracy_before(self) -> float:
        """Mean of the recalls of the classes that have tracks."""
        return _mean_recall(self.before)

    @property
    def accuracy_after(self) -> float:
        """The same after the edit."""
        return _mean_recall(self.after)

    @property
    def difference(self) -> float:
        """How far accuracy rises."""
        return self.accuracy_after - self.accuracy_before

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Paired bootstrap interval of `difference`: tracks are drawn again within each class, each with both answers."""
        true = self.before.true
        gained = (self.after.predicted == true).astype(int) - (self.before.predicted == true)  # (T,)
        draws = np.random.default_rng(0)
        samples = []
        for label in np.unique(true):
            of_class = gained[true == label]
            # How many of n tracks drawn again gain, stay and lose is multinomial: no need to draw them one by one.
            shares = [(of_class > 0).mean(), (of_class < 0).mean(), (of_class == 0).mean()]
            counts = draws.multinomial(len(of_class), shares, BOOTSTRAP_SAMPLES)
            samples.append((counts[:, 0] - counts[:, 1]) / len(of_class))
        low, high = np.quantile(np.mean(samples, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    @property
    def falls(self) -> bool:
        """Whether accuracy falls significantly: the whole interval lies below 0."""
        return self.difference < 0 and self.interval[1] < 0

    @cached_property
    def recalls(self) -> dict[str, tuple[float, float]]:
        """Share of each class's tracks that get its label, before and after, by the name it has now."""
        before, after = (_recalls(evaluation) for evaluation in (self.before, self.after))
        return {self.after.labels[label]: (before[label], after[label]) for label in before}

    @cached_property
    def changed(self) -> tuple[LabelChange, ...]:
        """Tracks whose label changes; a class that is only renamed changes none."""
        before, after = self.before, self.after
        return tuple(
            LabelChange(
                track=int(track),
                name=before.names[track],
                true=after.labels[before.true[track]],
                before=after.labels[before.predicted[track]],
                after=after.labels[after.predicted[track]],
            )
            for track in np.flatnonzero(before.predicted != after.predicted)
        )

    @property
    def calibration(self) -> tuple[float, float]:
        """Expected calibration error, before and after."""
        return self.before.calibration_error, self.after.calibration_error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "accuracy": [self.accuracy_before, self.accuracy_after],
            "difference": self.difference,
            "interval_95": list(self.interval),
            "falls": self.falls,
            "recalls": {label: list(pair) for label, pair in self.recalls.items()},
            "calibration_error": list(self.calibration),
            "num_tracks": len(self.before.true),
            "changed": [vars(change) | {"verdict": change.verdict} for change in self.changed],
        }

    def __str__(self) -> str:
        low, high = (100 * value for value in self.interval)
        right = sum(change.verdict == "right" for change in self.changed)
        wrong = sum(change.verdict == "wrong" for change in self.changed)
        return (
            f"accuracy {100 * self.accuracy_before:.1f} % to {100 * self.accuracy_after:.1f} % "
            f"({100 * self.difference:+.1f}, 95 % interval {low:+.1f} to {high:+.1f}); "
            f"{len(self.changed)} of {len(self.before.true)} tracks change their label: {right} to right, {wrong} to wrong"
        )


def _recalls(evaluation: Evaluation) -> dict[int, float]:
    hits = evaluation.predicted == evaluation.true
    return {int(label): float(hits[evaluation.true == label].mean()) for label in np.unique(evaluation.true)}


def _mean_recall(evaluation: Evaluation) -> float:
    return float(np.mean(list(_recalls(evaluation).values())))
