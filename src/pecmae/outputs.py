"""What a model answers with: frozen records of NumPy arrays."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a track was classified as, and the evidence segment by segment."""

    label: str
    # Of the label, in [0, 1].
    score: float
    # Of every class, the best first.
    scores: dict[str, float]
    # Averaged over segments [shape=(C,)], and of each [shape=(S, C)], in the order of the model's labels.
    logits: np.ndarray
    segment_logits: np.ndarray
    # Of each segment to each prototype, in (0, 1] [shape=(S, M)].
    segment_similarities: np.ndarray
    # Of the track, in seconds.
    duration: float

    @property
    def num_segments(self) -> int:
        """S."""
        return len(self.segment_logits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: label, score, scores, duration (s), num_segments."""
        return {
            "label": self.label,
            "score": self.score,
            "scores": self.scores,
            "duration": self.duration,
            "num_segments": self.num_segments,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """How much each prototype gave to each class's logit: contributions and bias sum to the logits.

    Raises
    ------
    ValueError
        They do not, within 1e-5 of the largest logit (or of 1): the parts belong to different models.
    """

    labels: tuple[str, ...]
    # Class of each prototype, as an index into labels [shape=(M,)].
    prototype_labels: np.ndarray
    # Of each segment to each prototype [shape=(S, M)].
    segment_similarities: np.ndarray
    # Of the linear layer [shape=(C, M) and (C,)].
    weight: np.ndarray
    bias: np.ndarray
    # Of the track [shape=(C,)].
    logits: np.ndarray

    def __post_init__(self) -> None:
        error = np.abs(self.contributions.sum(1) + self.bias - self.logits).max()
        if not error <= 1e-5 * max(1.0, np.abs(self.logits).max()):
            raise ValueError(f"Contributions and bias miss the logits by {error:.2g}; they belong to different models.")

    @property
    def label(self) -> str:
        """The class of the largest logit."""
        return self.labels[int(self.logits.argmax())]

    @cached_property
    def contributions(self) -> np.ndarray:
        """Of each prototype to each class's logit, averaged over segments [shape=(C, M)]."""
        return self.weight * self.segment_similarities.mean(0)

    @cached_property
    def segment_contributions(self) -> np.ndarray:
        """Of each prototype to each class's logit, segment by segment [shape=(S, C, M)]."""
        return self.segment_similarities[:, None, :] * self.weight

    def top(self, label: str | None = None, count: int = 5) -> list[tuple[str, int, float]]:
        """The prototypes that gave most to a class (the predicted one by default).

        Returns
        -------
        list of (str, int, float)
            The prototype's class, its number within the class, and its contribution, the largest first.
        """
        row = self.contributions[self.labels.index(self.label if label is None else label)]
        per_class = len(self.prototype_labels) // len(self.labels)
        order = np.argsort(-row, kind="stable")[:count]
        return [(self.labels[self.prototype_labels[m]], int(m % per_class), float(row[m])) for m in order]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "label": self.label,
            "labels": list(self.labels),
            "logits": self.logits.tolist(),
            "bias": self.bias.tolist(),
            "prototype_labels": [self.labels[index] for index in self.prototype_labels],
            "contributions": self.contributions.tolist(),
            "segment_similarities": self.segment_similarities.tolist(),
        }
