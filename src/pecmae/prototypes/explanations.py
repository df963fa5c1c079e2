"""Why a track got its label: what each prototype gave to each class's logit, and what speaks for one class against another."""

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pecmae.audio.players import Players
from pecmae.core.tables import data_frame
from pecmae.prototypes.calibration import Calibration
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import Reasons, numbers_within_class, reasons_of
from pecmae.prototypes.notebook import SHOWN, part_bars, timeline
from pecmae.prototypes.outputs import Prediction, weighted_mean

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """What speaks for one class against another: prototypes and bias sum to the difference of the logits."""

    label: str
    against: str
    # What each prototype gave to the one class more than to the other [shape=(M,)].
    prototypes: np.ndarray
    # Of the bias.
    bias: float
    # By how much each segment's logit of the one class exceeds that of the other [shape=(S,)]; their mean, by the segments'
    # weights, is `total`.
    segments: np.ndarray
    # Difference of the track's logits.
    total: float
    # Class of each prototype, and its number within the class [length M].
    names: tuple[tuple[str, int], ...]

    def top(self, count: int = 5) -> list[tuple[str, int, float]]:
        """The prototypes that speak most for `label`: class, number within the class, difference; the largest first."""
        order = np.argsort(-self.prototypes, kind="stable")[:count]
        return [(*self.names[m], float(self.prototypes[m])) for m in order]

    def top_segments(self, count: int = 5) -> list[tuple[int, float]]:
        """The segments that speak most for `label`: number and difference, the largest first."""
        order = np.argsort(-self.segments, kind="stable")[:count]
        return [(int(s), float(self.segments[s])) for s in order]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "label": self.label,
            "against": self.against,
            "prototypes": self.prototypes.tolist(),
            "bias": self.bias,
            "segments": self.segments.tolist(),
            "total": self.total,
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
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
    # What each segment is worth [shape=(S,)]; None: all the same.
    segment_weights: np.ndarray | None = None
    # What is usual among the training data; None where the model is not calibrated.
    calibration: Calibration | None = field(default=None, repr=False)
    # Players of what decided: made when a notebook shows the explanation.
    listen: Callable[[], Players] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        error = np.abs(self.contributions.sum(1) + self.bias - self.logits).max()
        if not error <= 1e-5 * max(1.0, np.abs(self.logits).max()):
            raise ValueError(f"Contributions and bias miss the logits by {error:.2g}; they belong to different models.")
        if self.baseline is not None and self.differences is not None:
            error = np.abs(self.differences.sum(1) + self.baseline - self.logits).max()
            assert error <= 1e-5 * max(1.0, np.abs(self.logits).max()), error

    @property
    def label(self) -> str:
        """The class of the largest logit."""
        return self.labels[int(self.logits.argmax())]

    @property
    def runner_up(self) -> str | None:
        """The class of the second largest logit; None where there is only one class."""
        order = np.argsort(-self.logits, kind="stable")
        return self.labels[int(order[1])] if len(order) > 1 else None

    @property
    def winners(self) -> np.ndarray:
        """The prototype that each segment is most similar to [shape=(S,)]."""
        return self.segment_similarities.argmax(1)

    @property
    def names(self) -> tuple[tuple[str, int], ...]:
        """Class of each prototype, and its number within the class [length M]."""
        numbers = numbers_within_class(self.prototype_labels)
        return tuple((self.labels[label], number) for label, number in zip(self.prototype_labels, numbers, strict=True))

    @property
    def weights(self) -> np.ndarray:
        """What each segment is worth beside the others [shape=(S,)]."""
        return np.ones(len(self.segment_similarities)) if self.segment_weights is None else self.segment_weights

    @cached_property
    def similarities(self) -> np.ndarray:
        """Of the track to each prototype, averaged over segments by their weights [shape=(M,), float64]."""
        return weighted_mean(self.segment_similarities, self.weights)

    @cached_property
    def contributions(self) -> np.ndarray:
        """Of each prototype to each class's logit, averaged over segments by their weights [shape=(C, M), float64]."""
        return self.weight * self.similarities

    @cached_property
    def segment_contributions(self) -> np.ndarray:
        """Of each prototype to each class's logit, segment by segment [shape=(S, C, M)]."""
        return self.segment_similarities[:, None, :] * self.weight

    @cached_property
    def baseline(self) -> np.ndarray | None:
        """Logits of what is usual: of the mean similarities over the training segments [shape=(C,)]; None: not calibrated."""
        return None if self.calibration is None else self.weight @ self.calibration.usual + self.bias

    @cached_property
    def differences(self) -> np.ndarray | None:
        """By how much each prototype gave more to each class's logit than is usual [shape=(C, M)]; None: not calibrated.

        A contribution is largely a constant: a prototype that gives much to every track is no reason. Baseline and differences
        sum to the logits.
        """
        return None if self.calibration is None else self.weight * (self.similarities - self.calibration.usual)

    @cached_property
    def percentiles(self) -> np.ndarray | None:
        """Share of the training segments that are less similar to a prototype than the track [shape=(M,)]; None likewise."""
        return None if self.calibration is None else self.calibration.percentiles(self.similarities)

    def top(
        self, label: str | None = None, count: int = 5, *, against: Literal["usual", "nothing"] = "usual"
    ) -> list[tuple[str, int, float]]:
        """The prototypes that gave most to a class (the predicted one by default).

        Parameters
        ----------
        label : str, optional
        count : int
        against : {"usual", "nothing"}
            More than is usual among the training data, where the model is calibrated; or the plain contributions.

        Returns
        -------
        list of (str, int, float)
            The prototype's class, its number within the class, and what it gave, the largest first.
        """
        given = self.contributions if against == "nothing" or self.differences is None else self.differences
        row = given[self._index(self.label if label is None else label)]
        order = np.argsort(-row, kind="stable")[:count]
        return [(*self.names[m], float(row[m])) for m in order]

    @cached_property
    def reasons(self) -> Reasons:
        """How plain the reasons for the track's label are [shape=(1,) each]."""
        return reasons_of(self.similarities[None], self.weight, self.bias, self.prototype_labels)

    def contrast(self, label: str, against: str) -> Contrast:
        """Tell which prototypes and which moments speak for one class against another.

        Raises
        ------
        ValueError
            The model knows no such class.
        """
        one, other = self._index(label), self._index(against)
        difference = self.weight[one] - self.weight[other]  # (M,)
        bias = float(self.bias[one] - self.bias[other])
        return Contrast(
            label=label,
            against=against,
            prototypes=self.contributions[one] - self.contributions[other],
            bias=bias,
            segments=self.segment_similarities @ difference + bias,
            total=float(self.logits[one] - self.logits[other]),
            names=self.names,
        )

    def plot(self, label: str | None = None, *, count: int = 8) -> "Figure":
        """Draw segment by segment what is heard, and what makes up a class's logit (the predicted one's by default).

        Parameters
        ----------
        label : str, optional
        count : int
            Prototypes to show; the others are summed.

        Returns
        -------
        matplotlib.figure.Figure
            To show or to save; nothing is shown here.

        Raises
        ------
        PecmaeError
            matplotlib is not installed.
        """
        from pecmae.prototypes.plots import plot_explanation

        label = self.label if label is None else label
        winners = self.winners
        heights = self.segment_similarities[np.arange(len(winners)), winners]
        title = f"What makes up the logit of {label}: {self.logits[self._index(label)]:.3f}"
        return plot_explanation(self.labels, self.prototype_labels[winners], heights, self._parts(label, count), title)

    def _parts(self, label: str, count: int) -> list[tuple[str, float, int | None]]:
        """What sums to a logit: the `count` largest contributions, the others together, and the bias."""
        index = self._index(label)
        row = self.contributions[index]
        shown = np.argsort(-np.abs(row), kind="stable")[:count]
        parts: list[tuple[str, float, int | None]] = []
        for m in shown:
            name, number = self.names[m]
            parts.append((f"{name} {number}", float(row[m]), int(self.prototype_labels[m])))
        if others := len(row) - len(shown):
            parts.append((f"{others} others", float(row.sum() - row[shown].sum()), None))
        return [*parts, ("bias", float(self.bias[index]), None)]

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each prototype: its class, its number within the class, and what it gave to each class's logit."""
        columns: dict[str, Any] = {"label": [name for name, _ in self.names], "number": [number for _, number in self.names]}
        return data_frame(columns | {f"to {label}": self.contributions[index] for index, label in enumerate(self.labels)})

    def __repr__(self) -> str:
        top = ", ".join(f"{name} {number} {value:+.2f}" for name, number, value in self.top(count=3))
        usual = "" if self.calibration is None else " more than usual"
        return f"Explanation: {self.label}, then {self.runner_up}\n  most from {top}{usual}"

    def _repr_html_(self) -> str:
        title = f"<b>{html.escape(self.label)}</b>, then {html.escape(str(self.runner_up))}"
        strip = timeline(self.prototype_labels[self.winners], self.labels)
        sounds = "" if self.listen is None else self.listen()._repr_html_()
        return title + strip + sounds + part_bars(self._parts(self.label, SHOWN))

    def _index(self, label: str) -> int:
        if label not in self.labels:
            raise ValueError(f"{label!r} is not a class of this model; choose from {', '.join(self.labels)}.")
        return self.labels.index(label)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        usual = {"baseline": self.baseline, "differences": self.differences, "percentiles": self.percentiles}
        return {
            "label": self.label,
            "runner_up": self.runner_up,
            "labels": list(self.labels),
            "logits": self.logits.tolist(),
            "bias": self.bias.tolist(),
            "weight": self.weight.tolist(),
            "prototype_labels": [self.labels[index] for index in self.prototype_labels],
            "contributions": self.contributions.tolist(),
            "reasons": self.reasons.to_dict(),
            "segment_similarities": self.segment_similarities.tolist(),
            "segment_weights": self.weights.tolist(),
            **{name: values.tolist() for name, values in usual.items() if values is not None},
        }


def explanation_of(head: PrototypeHead, labels: tuple[str, ...], prediction: Prediction) -> Explanation:
    """The parts that a prediction's logits are the sum of."""
    head = head.in_float32()
    return Explanation(
        labels=labels,
        prototype_labels=head.prototype_labels.cpu().numpy(),
        segment_similarities=prediction.segment_similarities,
        segment_weights=prediction.segment_weights,
        weight=head.linear.weight.detach().cpu().numpy(),
        bias=head.linear.bias.detach().cpu().numpy(),
        logits=prediction.logits,
        calibration=prediction.calibration,
    )
