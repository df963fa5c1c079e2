"""What is said of prototypes wherever they are described: which are the same, what lies near them, and how pure that is.

Shapes: N segments, D width, C classes, M prototypes, n nearest segments of each prototype.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pecmae.prototypes.head import PrototypeHead

if TYPE_CHECKING:
    from pecmae.data.tracks import EmbeddedTracks

# Training segments, each of another track, that purity is about.
NEIGHBOURS = 10
# Of those, the ones that pages and reports name.
NAMED = 5
# Segments whose distances are computed together.
BATCH = 4096
# Two prototypes count as one twice when they are closer to each other than this share of the median between two prototypes.
DUPLICATE_SHARE = 0.1
# Of what speaks for a label against the runner-up: the share that compactness counts the prototypes of.
MARGIN_SHARE = 0.9


def numbers_within_class(prototype_labels: np.ndarray) -> list[int]:
    """Number of each prototype within its class, from 0 on, of the classes [shape=(M,)] of prototypes in class-major order."""
    firsts = np.searchsorted(prototype_labels, prototype_labels)
    return [int(m - first) for m, first in enumerate(firsts)]


@torch.no_grad()
def segment_distances(head: PrototypeHead, z: Tensor) -> Tensor:
    """Distance of each z [shape=(N, D)] to each prototype as the head measures it [shape=(N, M)], on the CPU."""
    device = head.prototypes.device
    return torch.cat([head.distances(part.to(device)).cpu() for part in z.float().split(BATCH)])


@torch.no_grad()
def duplicate_pairs(head: PrototypeHead) -> tuple[tuple[int, int], ...]:
    """Pairs of prototypes that say the same.

    They are closer to each other than `DUPLICATE_SHARE` of the median length between two prototypes of the head. Their classes
    may differ: then one of them is in the wrong place.
    """
    adapted = head.adaptor(head.prototypes).double().cpu()  # (M, D)
    lengths = torch.cdist(adapted, adapted, compute_mode="donot_use_mm_for_euclid_dist")
    above = torch.ones_like(lengths, dtype=torch.bool).triu(1)
    if not above.any():
        return ()
    same = (lengths < DUPLICATE_SHARE * lengths[above].median()) & above
    return tuple((a, b) for a, b in same.nonzero().tolist())


def purity(nearest_labels: Tensor, prototype_labels: Tensor) -> Tensor:
    """Share of each prototype's nearest segments that have its class.

    Parameters
    ----------
    nearest_labels : Tensor [shape=(M, n)]
        Class of the segments that `nearest_segments` finds, the nearest first; those beyond `NEIGHBOURS` do not count.
    prototype_labels : Tensor [shape=(M,)]

    Returns
    -------
    Tensor [shape=(M,), float32]
    """
    return (nearest_labels[:, :NEIGHBOURS] == prototype_labels[:, None]).float().mean(1)


def nearest_segments(distances: Tensor, tracks: Tensor, count: int) -> Tensor:
    """The segments nearest to each prototype, at most one of a track.

    Parameters
    ----------
    distances : Tensor [shape=(N, M)]
    tracks : Tensor [shape=(N,), int64]
        Number of the track that each segment is of, from 0 on.
    count : int
        How many to find.

    Returns
    -------
    Tensor [shape=(M, n)]
        Numbers of the segments, the nearest first; n is less than `count` where there are fewer tracks.
    """
    used, numbers = torch.unique(tracks, return_inverse=True)
    best = distances.new_full((len(used), distances.shape[1]), torch.inf)
    best = best.scatter_reduce(0, numbers[:, None].expand_as(distances), distances, "amin")  # (tracks, M)
    order = best.topk(min(count, len(used)), dim=0, largest=False).indices  # (n, M)
    rows = torch.empty(distances.shape[1], len(order), dtype=torch.int64)
    for m in range(distances.shape[1]):
        # The first segment of the track that has its smallest distance.
        candidates = (distances[:, m] == best[numbers, m]).nonzero()[:, 0]
        first = torch.full((len(used),), len(distances), dtype=torch.int64)
        first = first.scatter_reduce(0, numbers[candidates], candidates, "amin")
        rows[m] = first[order[:, m]]
    return rows


@torch.no_grad()
def nearest_agreement(head: PrototypeHead, z: Tensor) -> float:
    """Share of segments, from their z [shape=(N, D)], whose most similar prototype is of the class that they are given.

    A label comes from the sum over all prototypes, weighed by the linear layer. Where this share is low, the nearest prototype
    alone tells little of the reasons.
    """
    similarities = head.similarities(z.to(head.prototypes.device))  # (N, M)
    nearest = head.prototype_labels[similarities.argmax(1)]  # (N,)
    return float((nearest == head.linear(similarities).argmax(1)).float().mean())


@dataclass(frozen=True, eq=False)
class Reasons:
    """How plain the reasons for decisions are; arrays are over the decisions."""

    agrees: np.ndarray  # (N,) bool: the most similar prototype is of the given class
    prototypes_needed: np.ndarray  # (N,) the fewest that make `MARGIN_SHARE` of what speaks for the label against the runner-up
    cancelled: np.ndarray  # (N,) share of what speaks for the label that is taken back by what speaks for the runner-up

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON.

        `agreement` is the share of decisions whose most similar prototype is of the given class; `compactness` and
        `cancellation` are medians.
        """
        return {
            "agreement": float(self.agrees.mean()),
            "compactness": float(np.median(self.prototypes_needed)),
            "cancellation": float(np.median(self.cancelled)),
        }


def reasons_of(similarities: np.ndarray, weight: np.ndarray, bias: np.ndarray, prototype_labels: np.ndarray) -> Reasons:
    """Tell how plain the reasons for decisions are.

    Parameters
    ----------
    similarities : np.ndarray [shape=(N, M)]
        To each prototype, of segments or averaged over the segments of tracks.
    weight, bias : np.ndarray [shape=(C, M) and (C,)]
        Of the linear layer.
    prototype_labels : np.ndarray [shape=(M,)]
    """
    logits = similarities @ weight.T + bias  # (N, C)
    order = np.argsort(-logits, axis=1, kind="stable")
    label, rival = order[:, 0], order[:, min(1, logits.shape[1] - 1)]
    differences = similarities * (weight[label] - weight[rival])  # (N, M)
    of_bias = (bias[label] - bias[rival])[:, None]
    forward = np.maximum(-np.sort(-differences, axis=1), 0.0)  # (N, M), the largest first
    wanted = MARGIN_SHARE * forward.sum(1, keepdims=True)
    needed = (forward.cumsum(1) < wanted * (1 - 1e-9)).sum(1) + (wanted[:, 0] > 0)
    terms = np.concatenate([differences, of_bias], axis=1)
    gained, lost = np.maximum(terms, 0.0).sum(1), np.maximum(-terms, 0.0).sum(1)
    return Reasons(
        agrees=prototype_labels[similarities.argmax(1)] == label,
        prototypes_needed=needed,
        cancelled=np.divide(lost, gained, out=np.zeros_like(gained), where=gained > 0),
    )


@torch.no_grad()
def track_reasons(head: PrototypeHead, tracks: "EmbeddedTracks") -> Reasons:
    """`reasons_of` the decisions on tracks, whose similarities are averages over their segments."""
    similarities = tracks.average(head.similarities(tracks.z.to(head.prototypes.device)).cpu())  # (tracks, M)
    linear = head.linear
    return reasons_of(
        similarities.numpy(),
        linear.weight.detach().cpu().numpy(),
        linear.bias.detach().cpu().numpy(),
        head.prototype_labels.cpu().numpy(),
    )
