"""Whether reasons are true: do labels hang on what is named as their reason, on these weights, and on this track?

Shapes: N tracks, S segments, C classes, M prototypes, R random orders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.calibration import Calibration, softmax
from pecmae.prototypes.head import PrototypeHead

# Steps of a curve over prototypes, orders that ours is compared with, and pairs of tracks that are compared.
STEPS, RANDOM_ORDERS, PAIRS = 20, 10, 500
# First reasons of a track, as pages show them.
FIRST = 3
BOOTSTRAP_SAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class MeanOfTracks:
    """A mean over tracks with its bootstrap interval, for which tracks are drawn again."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray, seed: int = 0) -> Self:
        """Of one value for each track [shape=(N,)]."""
        draws = np.random.default_rng(seed).integers(len(values), size=(BOOTSTRAP_SAMPLES, len(values)))
        low, high = np.quantile(values[draws].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(values.mean()), float(low), float(high))

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class TrackEvidence:
    """What a head's answers to tracks are made of."""

    similarities: np.ndarray  # (N, M) of the tracks
    usual: np.ndarray  # (M,) what is usual
    weight: np.ndarray  # (C, M)
    bias: np.ndarray  # (C,)
    temperature: float

    @property
    def labels(self) -> np.ndarray:
        """The classes that are given [shape=(N,)]."""
        return self.logits(self.similarities).argmax(1)

    def logits(self, similarities: np.ndarray) -> np.ndarray:
        """Logits [shape=(..., C)] of similarities [shape=(..., M)]."""
        return np.asarray(similarities @ self.weight.T + self.bias)

    def reasons(self, labels: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """What each prototype gave to the class `labels` [shape=(N,)] more than is usual [shape=(N, M)]."""
        weight = self.weight if weight is None else weight
        return np.asarray(weight[labels] * (self.similarities - self.usual))

    def probability(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Of the classes `labels` [shape=(N,)], from logits [shape=(N, C)] or [shape=(N, K, C)]."""
        shares = softmax(logits, self.temperature)
        return np.asarray(np.take_along_axis(shares, labels.reshape(-1, *[1] * (shares.ndim - 1)), -1)[..., 0])


def evidence_of(head: PrototypeHead, tracks: EmbeddedTracks, calibration: Calibration | None) -> TrackEvidence:
    """What is usual is what the calibration says, or else the mean of these tracks."""
    with torch.no_grad():
        similarities = tracks.average(head.similarities(tracks.z.to(head.prototypes.device)).cpu()).double().numpy()
    return TrackEvidence(
        similarities,
        similarities.mean(0) if calibration is None else calibration.usual,
        head.linear.weight.detach().double().cpu().numpy(),
        head.linear.bias.detach().double().cpu().numpy(),
        head.config.temperature if calibration is None else calibration.temperature,
    )


def faithfulness_report(
    head: PrototypeHead, tracks: EmbeddedTracks, calibration: Calibration | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Measure how true the reasons for a head's labels are.

    Parameters
    ----------
    head : PrototypeHead
    tracks : EmbeddedTracks
    calibration : Calibration, optional
        Of the head; says what is usual, and the temperature of the curves. Without it, the mean of the tracks and the head's
        own.
    seed : int
        Of random orders, shuffled weights and pairs.

    Returns
    -------
    dict
        `additivity`: the largest error of baseline plus differences, as a share of the largest logit. `prototypes` and
        `segments`: see `curve_report`. `randomised`: rank correlation of the reasons with those that shuffled weights or
        shuffled prototypes give, 1 for reasons that hang on neither. `variety`: of tracks of different labels, the rank
        correlation of their reasons, and the share of their `FIRST` reasons that they have in common.
    """
    evidence, draws = evidence_of(head, tracks, calibration), np.random.default_rng(seed)
    labels = evidence.labels
    logits = evidence.logits(evidence.similarities)
    parts = evidence.weight * (evidence.similarities - evidence.usual)[:, None, :]  # (N, C, M)
    error = np.abs(parts.sum(2) + evidence.logits(evidence.usual) - logits).max()
    return {
        "additivity": float(error / max(1.0, np.abs(logits).max())),
        "prototypes": prototype_curves(evidence, draws),
        "segments": segment_curves(head, evidence, tracks, draws),
        "randomised": _randomised(evidence, labels, draws),
        "variety": _variety(evidence, labels, draws),
    }


def curve_report(own: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """Areas under curves of the label's probability, in our order and in random ones.

    Parameters
    ----------
    own, random : np.ndarray [shape=(2, N)]
        Of deletion (the strongest reasons first: the less is left, the better) and of insertion (the more, the better).

    Returns
    -------
    dict
        `deletion` and `insertion`: the `area`, that of `random` orders, and by how much ours is better with its interval
        (`gain`: 0 is no better than chance).
    """
    found = {}
    for index, name in enumerate(("deletion", "insertion")):
        gain = (own[index] - random[index]) * (-1 if name == "deletion" else 1)
        found[name] = {
            "area": float(own[index].mean()),
            "random": float(random[index].mean()),
            "gain": MeanOfTracks.of(gain).to_dict(),
        }
    return found


def prototype_curves(evidence: TrackEvidence, draws: np.random.Generator) -> dict[str, Any]:
    """Curves over prototypes: one after the other, similarities become what is usual, or cease to (RISE, arXiv 1806.07421)."""
    labels, count = evidence.labels, evidence.similarities.shape[1]
    kept = np.unique(np.round(np.linspace(0, count, min(STEPS, count) + 1)).astype(int))

    def areas(order: np.ndarray) -> np.ndarray:  # (N, M) prototypes, the strongest reason first
        ranks = np.argsort(order, axis=1)
        curves = []
        for deleting in (True, False):
            points = []
            for many in kept:
                usual = (ranks < many) if deleting else (ranks >= many)
                logits = evidence.logits(np.where(usual, evidence.usual, evidence.similarities))
                points.append(evidence.probability(logits, labels))
            curves.append(np.trapezoid(np.stack(points), kept / count, axis=0))
        return np.stack(curves)  # (2, N)

    own = areas(np.argsort(-evidence.reasons(labels), axis=1, kind="stable"))
    rows = np.arange(count)[None].repeat(len(labels), 0)
    random = np.mean([areas(draws.permuted(rows, axis=1)) for _ in range(RANDOM_ORDERS)], axis=0)
    return curve_report(own, random)


def segment_curves(
    head: PrototypeHead, evidence: TrackEvidence, tracks: EmbeddedTracks, draws: np.random.Generator
) -> dict[str, Any] | None:
    """Curves over the segments of tracks, which are left out of the average or taken in; None where no track has two."""
    with torch.no_grad():
        logits = head(tracks.z.to(head.prototypes.device)).double().cpu().numpy()  # (S, C)
    worth = np.ones(len(logits)) if tracks.weights is None else tracks.weights.double().numpy()
    own, random = [], []
    for track, label in enumerate(evidence.labels):
        rows = np.flatnonzero((tracks.tracks.numpy() == track) & (worth > 0))
        if len(rows) < 2:
            continue
        rivals = np.delete(logits[rows], label, axis=1)
        margin = logits[rows, label] - (rivals.max(1) if rivals.size else 0.0)
        areas = _segment_areas(logits[rows], worth[rows], int(label), evidence)
        own.append(areas(np.argsort(-margin, kind="stable")))
        random.append(np.mean([areas(draws.permutation(len(rows))) for _ in range(RANDOM_ORDERS)], axis=0))
    return curve_report(np.stack(own, 1), np.stack(random, 1)) if own else None


def _segment_areas(
    logits: np.ndarray, worth: np.ndarray, label: int, evidence: TrackEvidence
) -> Callable[[np.ndarray], np.ndarray]:
    """Areas of deletion and insertion [shape=(2,)] for an order of one track's segments."""

    def areas(order: np.ndarray) -> np.ndarray:
        weighted, weights = (logits * worth[:, None])[order], worth[order]
        taken, of_taken = weighted.cumsum(0), weights.cumsum()  # the first 1 … S
        left = weighted[::-1].cumsum(0)[::-1] / weights[::-1].cumsum()[::-1, None]  # without the first 0 … S - 1
        both = np.stack([left, taken / of_taken[:, None]])  # (2, S, C)
        return evidence.probability(both, np.full(2, label)).mean(1)

    return areas


def _randomised(evidence: TrackEvidence, labels: np.ndarray, draws: np.random.Generator) -> dict[str, float]:
    """Sanity checks for explanations (Adebayo et al. 2018, arXiv 1810.03292), on both sets of weights that matter."""
    reasons = evidence.reasons(labels)
    usual = evidence.similarities - evidence.usual
    of_weights, of_prototypes = [], []
    for _ in range(RANDOM_ORDERS):
        shuffled = draws.permuted(evidence.weight, axis=1)
        of_weights.append(rank_correlation(reasons, evidence.reasons(labels, shuffled)).mean())
        moved = draws.permutation(usual.shape[1])
        of_prototypes.append(rank_correlation(reasons, evidence.weight[labels] * usual[:, moved]).mean())
    return {"weights": float(np.mean(of_weights)), "prototypes": float(np.mean(of_prototypes))}


def _variety(evidence: TrackEvidence, labels: np.ndarray, draws: np.random.Generator) -> dict[str, float] | None:
    """How much tracks of different labels differ in their reasons; None where all have one label."""
    pairs = draws.integers(len(labels), size=(20 * PAIRS, 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][:PAIRS]
    if not len(pairs):
        return None
    reasons = evidence.reasons(labels)
    first = np.argsort(-reasons, axis=1, kind="stable")[:, :FIRST]
    shared = (first[pairs[:, 0], :, None] == first[pairs[:, 1], None, :]).any(2).mean()
    return {
        "rank_correlation": float(rank_correlation(reasons[pairs[:, 0]], reasons[pairs[:, 1]]).mean()),
        "shared_first": float(shared),
    }


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation [shape=(N,)] of the rows of two matrices [shape=(N, M)]; 0 where a row is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [values - values.mean(1, keepdims=True) for values in ranks]
    lengths = np.prod([np.sqrt(np.square(values).sum(1)) for values in centred], axis=0)
    return np.divide((centred[0] * centred[1]).sum(1), lengths, out=np.zeros(len(lengths)), where=lengths > 0)
