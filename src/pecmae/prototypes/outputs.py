"""What a model answers with: frozen records of NumPy arrays, and how they follow from z."""

import html
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pecmae.audio.players import Players
from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.core.devices import answering
from pecmae.core.tables import data_frame
from pecmae.errors import ConfigError
from pecmae.prototypes.calibration import (
    CERTAINTY,
    COVERAGE,
    NOT_CALIBRATED,
    REFUSED,
    RISK,
    Calibration,
    class_distances,
    segment_strangeness,
)
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import Reasons, numbers_within_class, reasons_of
from pecmae.prototypes.notebook import SHOWN, part_bars, score_bars, timeline

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


def _finite(value: float) -> float | None:
    """A number as JSON has it, where NaN is none."""
    return value if math.isfinite(value) else None


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over segments of `values` [shape=(S, n)] by `weights` [shape=(S,)], in float64."""
    return np.average(values.astype(np.float64), axis=0, weights=weights.astype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction:
    """What a track was classified as, and the evidence segment by segment."""

    label: str
    # Of the label, in [0, 1].
    score: float
    # Of every class, the best first.
    scores: dict[str, float]
    # Averaged over segments by their weights [shape=(C,)], and of each [shape=(S, C)], in the order of the model's labels.
    logits: np.ndarray
    segment_logits: np.ndarray
    # Of each segment to each prototype, in (0, 1] [shape=(S, M)].
    segment_similarities: np.ndarray
    # Of the track, in seconds; NaN where only its z is known.
    duration: float
    # What each segment is worth: the share of it that is sound [shape=(S,), in [0, 1]]; None: all the same.
    segment_weights: np.ndarray | None = None
    # Of what is not silent, in seconds.
    audible_duration: float = math.nan
    # What was put right in the sound or makes the label doubtful, each as the rest of a sentence.
    notes: tuple[str, ...] = ()
    # What the model knows of its own answers, and how strange each segment is to it [shape=(S,)]; None where that is not known.
    calibration: Calibration | None = field(default=None, repr=False)
    segment_strangeness: np.ndarray | None = None

    @property
    def probability(self) -> float | None:
        """How likely the label is right, for tracks like those that the model was calibrated on; None where it was not."""
        found = self.probabilities
        return None if found is None else found[self.label]

    @cached_property
    def probabilities(self) -> dict[str, float] | None:
        """Calibrated probability of every class, the best first; they sum to 1. None where the model is not calibrated."""
        if self.calibration is None:
            return None
        labels = sorted(self.scores, key=lambda label: -self.scores[label])
        values = np.sort(self.calibration.probabilities(self.logits))[::-1]
        return {label: float(value) for label, value in zip(labels, values, strict=True)}

    def set(self, coverage: float = COVERAGE) -> tuple[str, ...]:
        """The classes that hold the true one with a probability of `coverage`, the likeliest first; none, one or more.

        It holds on average over tracks that are exchangeable with the calibration tracks, see
        `pecmae.prototypes.calibration.Calibration.least_probability`.

        Raises
        ------
        ConfigError
            The model is not calibrated.
        ValueError
            `coverage` does not lie between 0 and 1.
        """
        least = self._calibrated().least_probability(coverage)
        return tuple(label for label, value in (self.probabilities or {}).items() if value >= least)

    def abstain_at(self, risk: float = RISK, certainty: float = CERTAINTY) -> bool:
        """Whether to give no label, so that of the labels given at most a share of `risk` is wrong.

        See `pecmae.prototypes.calibration.Calibration.sure_from`; errors as for `set`.
        """
        least = self._calibrated().sure_from(risk, certainty)
        return (self.probability or 0.0) < least

    @property
    def unsure(self) -> bool | None:
        """Whether the set of 90 % coverage holds more classes than one, or none; None where the model is not calibrated."""
        return None if self.calibration is None else len(self.set()) != 1

    @property
    def unlikeness(self) -> float | None:
        """Share of known tracks that are less strange than this one, in [0, 1); None where the model is not calibrated."""
        if self.calibration is None or self.segment_strangeness is None:
            return None
        return float(self.calibration.unlikeness(self.segment_strangeness.mean()))

    @property
    def known(self) -> bool | None:
        """Whether it is like what the model learned from: of tracks that are, 5 % are refused. None: not calibrated."""
        unlikeness = self.unlikeness
        return None if unlikeness is None else unlikeness <= 1 - REFUSED

    @property
    def unlike_share(self) -> float | None:
        """Share of the segments that lie further from every class than 95 % of its own; None: not calibrated."""
        return None if self.segment_strangeness is None else float((self.segment_strangeness > 1).mean())

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise ConfigError(NOT_CALIBRATED)
        return self.calibration

    @property
    def num_segments(self) -> int:
        """S."""
        return len(self.segment_logits)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each segment: its number, its label, and the logit of each class."""
        labels = list(self.scores)
        order = np.argsort([-self.logits[index] for index in range(len(self.logits))], kind="stable")
        columns = {labels[rank]: self.segment_logits[:, index] for rank, index in enumerate(order)}
        names = np.array([labels[rank] for rank in np.argsort(order)])
        best = names[self.segment_logits.argmax(1)]
        return data_frame({"segment": np.arange(self.num_segments), "label": best, **columns})

    def __repr__(self) -> str:
        others = ", ".join(f"{label} {score:.2f}" for label, score in list(self.scores.items())[1:4])
        return f"Prediction: {self.label} {self.score:.2f}" + (
            f"\n  then {others}; {self.num_segments} segments, {self.duration:.1f} s" if others else ""
        )

    def _repr_html_(self) -> str:
        title = f"<b>{html.escape(self.label)}</b> {self.score:.2f}, {self.num_segments} segments, {self.duration:.1f} s"
        return title + score_bars(self.scores, sorted(self.scores))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: label, score, scores, durations (s, None if not known), num_segments, notes."""
        return {
            "label": self.label,
            "score": self.score,
            "scores": self.scores,
            "duration": _finite(self.duration),
            "audible_duration": _finite(self.audible_duration),
            "num_segments": self.num_segments,
            "notes": list(self.notes),
            **(
                {"probability": self.probability, "unsure": self.unsure, "unknown": not self.known}
                if self.calibration is not None
                else {}
            ),
        }


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
    # Players of what decided: made when a notebook shows the explanation.
    listen: Callable[[], Players] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        error = np.abs(self.contributions.sum(1) + self.bias - self.logits).max()
        if not error <= 1e-5 * max(1.0, np.abs(self.logits).max()):
            raise ValueError(f"Contributions and bias miss the logits by {error:.2g}; they belong to different models.")

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

    def top(self, label: str | None = None, count: int = 5) -> list[tuple[str, int, float]]:
        """The prototypes that gave most to a class (the predicted one by default).

        Returns
        -------
        list of (str, int, float)
            The prototype's class, its number within the class, and its contribution, the largest first.
        """
        row = self.contributions[self._index(self.label if label is None else label)]
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
        return f"Explanation: {self.label}, then {self.runner_up}\n  most from {top}"

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
        }


def prediction_of(head: PrototypeHead, labels: tuple[str, ...], track: TrackEmbedding) -> Prediction:
    """Label and scores of a track from the embeddings of its segments, whose logits are averaged by their weights.

    Raises
    ------
    ValueError
        z has another shape, or is not finite.
    """
    z = track.z
    if z.ndim != 2 or not len(z) or z.shape[1] != head.config.embedding_dim:
        raise ValueError(f"z has the shape {tuple(z.shape)}; give one row of {head.config.embedding_dim} values a segment.")
    if not bool(z.isfinite().all()):
        raise ValueError("z holds NaN or infinite values; embed the audio again.")
    head = head.in_float32()
    with answering(head.prototypes.device):
        similarities = head.similarities(z.to(head.prototypes.device))  # (S, M)
        segment_logits = head.linear(similarities).cpu().numpy()  # (S, C)
        logits = weighted_mean(segment_logits, track.weights).astype(np.float32)  # (C,)
        scores = head.scores(torch.from_numpy(logits)).numpy()
    order = np.argsort(-scores, kind="stable")
    return Prediction(
        label=labels[order[0]],
        score=float(scores[order[0]]),
        scores={labels[index]: float(scores[index]) for index in order},
        logits=logits,
        segment_logits=segment_logits,
        segment_similarities=similarities.cpu().numpy(),
        segment_weights=track.weights,
        duration=track.duration,
        audible_duration=track.audible_duration,
        notes=track.notes,
    )


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
    )
