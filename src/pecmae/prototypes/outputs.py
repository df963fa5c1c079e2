"""What a model answers with: frozen records of NumPy arrays, and how they follow from z."""

import html
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

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
from pecmae.prototypes.notebook import score_bars

if TYPE_CHECKING:
    import pandas


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
    def labels(self) -> tuple[str, ...]:
        """The model's classes, in the order of the logits."""
        ranks = np.argsort(np.argsort(-self.logits, kind="stable"), kind="stable")
        best_first = list(self.scores)
        return tuple(best_first[rank] for rank in ranks)

    @property
    def probability(self) -> float | None:
        """How likely the label is right, for tracks like those that the model was calibrated on; None where it was not."""
        return None if self.probabilities is None else self.probabilities[self.label]

    @cached_property
    def probabilities(self) -> dict[str, float] | None:
        """Calibrated probability of every class, the best first; they sum to 1. None where the model is not calibrated."""
        if self.calibration is None:
            return None
        values = np.sort(self.calibration.probabilities(self.logits))[::-1]
        return {label: float(value) for label, value in zip(self.scores, values, strict=True)}

    def set(self, coverage: float = COVERAGE) -> frozenset[str]:
        """The classes that hold the true one with a probability of `coverage`: none, one or more.

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
        return frozenset(label for label, value in (self.probabilities or {}).items() if value >= least)

    def abstain_at(self, risk: float = RISK, certainty: float = CERTAINTY) -> bool:
        """Whether to give no label, so that of the labels given at most a share of `risk` is wrong.

        See `pecmae.prototypes.calibration.Calibration.sure_from`; errors as for `set`.
        """
        return (self.probability or 0.0) < self._calibrated().sure_from(risk, certainty)

    @property
    def unsure(self) -> bool | None:
        """Whether the set of 90 % coverage holds more classes than one, or none; None where the model is not calibrated."""
        return None if self.calibration is None else len(self.set()) != 1

    @property
    def unlikeness(self) -> float | None:
        """Share of known tracks that are less strange than this one, in [0, 1); None where the model is not calibrated."""
        if self.calibration is None or self.segment_strangeness is None:
            return None
        return float(self.calibration.unlikeness(np.asarray(self._share(self.segment_strangeness))))

    @property
    def known(self) -> bool | None:
        """Whether it is like what the model learned from; None where the model is not calibrated.

        Of tracks that are, 5 % are refused. A track in which nothing is heard is like nothing.
        """
        if self.unlikeness is None:
            return None
        return self.audible_duration != 0 and self.unlikeness <= 1 - REFUSED

    @property
    def unlike_share(self) -> float | None:
        """Share of the track that lies further from every class than 95 % of its training segments; None: not calibrated."""
        return None if self.segment_strangeness is None else self._share(self.segment_strangeness > 1)

    @property
    def nearest_prototype(self) -> int:
        """Row, among all M, of the prototype that the track is most similar to, whether it is known or not."""
        return int(weighted_mean(self.segment_similarities, self._weights).argmax())

    @property
    def _weights(self) -> np.ndarray:
        return np.ones(self.num_segments) if self.segment_weights is None else self.segment_weights

    def _share(self, values: np.ndarray) -> float:
        """Mean over segments of `values` [shape=(S,)], by their weights."""
        return float(np.average(values, weights=self._weights))

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
        columns = {label: self.segment_logits[:, self.labels.index(label)] for label in self.scores}
        best = np.array(self.labels)[self.segment_logits.argmax(1)]
        return data_frame({"segment": np.arange(self.num_segments), "label": best, **columns})

    def __repr__(self) -> str:
        others = ", ".join(f"{label} {score:.2f}" for label, score in list(self.scores.items())[1:4])
        first = f"Prediction: {self.label} {self.score:.2f}{self._trust}"
        return first + (f"\n  then {others}; {self.num_segments} segments, {self.duration:.1f} s" if others else "")

    @property
    def _trust(self) -> str:
        """How far the label can be trusted, as the rest of a line."""
        if self.probability is None:
            return ""
        doubts = (", unsure" if self.unsure else "") + (", unlike all it knows" if not self.known else "")
        return f", probability {self.probability:.2f}{doubts}"

    def _repr_html_(self) -> str:
        length = f"{self.num_segments} segments, {self.duration:.1f} s"
        title = f"<b>{html.escape(self.label)}</b> {self.score:.2f}{self._trust}, {length}"
        return title + score_bars(self.scores, sorted(self.scores))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: label, score, scores, durations (s, None if not known), num_segments, notes.

        And where the model is calibrated: probability, unsure, unknown.
        """
        trust = {"probability": self.probability, "unsure": self.unsure, "unknown": not self.known}
        return {
            "label": self.label,
            "score": self.score,
            "scores": self.scores,
            "duration": _finite(self.duration),
            "audible_duration": _finite(self.audible_duration),
            "num_segments": self.num_segments,
            "notes": list(self.notes),
            **(trust if self.calibration is not None else {}),
        }


def prediction_of(
    head: PrototypeHead, labels: tuple[str, ...], track: TrackEmbedding, calibration: Calibration | None = None
) -> Prediction:
    """Label and scores of a track from the embeddings of its segments, whose logits are averaged by their weights.

    `calibration` is of that head.

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
        strange = None if calibration is None else segment_strangeness(class_distances(head, z), calibration.radii)
    order = np.argsort(-logits, kind="stable")  # scores of 1 and of 0 can be equal where logits are not
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
        calibration=calibration,
        segment_strangeness=strange,
    )
