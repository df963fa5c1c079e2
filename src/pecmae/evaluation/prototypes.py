"""How prototypes fare among the training data: used or dead, alone or twice, in their own class, near what they stand for.

Shapes: N training segments, D width, M prototypes, n nearest segments of each prototype.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import (
    NAMED,
    NEIGHBOURS,
    duplicate_pairs,
    nearest_segments,
    numbers_within_class,
    purity,
    segment_distances,
)

# Segments that the data's spacing is taken from.
SPACING_SAMPLE = 2000


@dataclass(frozen=True)
class NearSegment:
    """A training segment near a prototype."""

    # Number of the segment, its track's name, class, first second, and distance as a length (root of the head's distance).
    segment: int
    track: str
    label: str
    offset: float
    distance: float


@dataclass(frozen=True, eq=False)
class PrototypeHealth:
    """What `prototype_health` found; arrays are over the M prototypes."""

    labels: tuple[str, ...]
    # Class of each, as an index into labels.
    prototype_labels: np.ndarray
    # Share of the training segments that each is the closest of all to.
    usage: np.ndarray
    # Share of the nearest training segments, of distinct tracks, that have the prototype's class.
    purity: np.ndarray
    # Distance to the nearest training segment of the own class, in units of `spacing`.
    relative_distance: np.ndarray
    # Median distance of a training segment to the nearest one of another track.
    spacing: float
    # Pairs of prototypes that say the same.
    duplicates: tuple[tuple[int, int], ...]
    nearest: tuple[tuple[NearSegment, ...], ...]

    @property
    def dead(self) -> list[int]:
        """Prototypes that are the closest to no training segment."""
        return np.flatnonzero(self.usage == 0).tolist()

    def name(self, prototype: int) -> str:
        """Class and number within it, such as "jazz 3"."""
        number = numbers_within_class(self.prototype_labels)[prototype]
        return f"{self.labels[int(self.prototype_labels[prototype])]} {number}"

    def to_dict(self, survival: np.ndarray | None = None) -> dict[str, Any]:
        """Plain values for JSON, a list of prototypes and a summary.

        Parameters
        ----------
        survival : np.ndarray [shape=(M,)], optional
            Share of each prototype's sounds that are heard as its class, from `pecmae.evaluation.sounds.check_sonification`.
        """
        rows = []
        for m in range(len(self.usage)):
            row = {
                "prototype": self.name(m),
                "label": self.labels[int(self.prototype_labels[m])],
                "usage": float(self.usage[m]),
                "purity": float(self.purity[m]),
                "relative_distance": float(self.relative_distance[m]),
                "nearest": [
                    {"track": near.track, "label": near.label, "offset": near.offset, "distance": near.distance}
                    for near in self.nearest[m]
                ],
            }
            if survival is not None:
                row["sonification_survival"] = float(survival[m])
            rows.append(row)
        return {
            "num_dead": len(self.dead),
            "dead": [self.name(m) for m in self.dead],
            # Prototypes that are almost equal to another one; three alike make three pairs.
            "num_duplicates": len({m for pair in self.duplicates for m in pair}),
            "duplicates": [[self.name(a), self.name(b)] for a, b in self.duplicates],
            "mean_purity": float(self.purity.mean()),
            "median_relative_distance": float(np.median(self.relative_distance)),
            "spacing": self.spacing,
            "prototypes": rows,
        }


@torch.no_grad()
def prototype_health(
    head: PrototypeHead, labels: tuple[str, ...], tracks: EmbeddedTracks, *, named: int = NAMED, seed: int = 0
) -> PrototypeHealth:
    """Look at every prototype among the segments it was fitted on.

    Distances here are lengths, the square roots of the head's, so that a ratio of two is one of lengths whichever way the
    head reduces.

    Parameters
    ----------
    head : PrototypeHead
    labels : tuple of str
        Names of the classes.
    tracks : EmbeddedTracks
        Of the training split.
    named : int
        Nearest segments to name for each prototype.
    seed : int
        Of the sample that the data's spacing is taken from.
    """
    distances = segment_distances(head, tracks.z).sqrt()  # (N, M)
    own = head.prototype_labels.cpu()  # (M,)
    segment_labels = tracks.labels
    rows = nearest_segments(distances, tracks.tracks, NEIGHBOURS)  # (M, n)
    nearest_own = distances.masked_fill(segment_labels[:, None] != own, torch.inf).amin(0)  # (M,)
    spacing = data_spacing(head, tracks, seed=seed)
    usage = torch.bincount(distances.argmin(1), minlength=len(own)) / len(distances)
    return PrototypeHealth(
        labels=tuple(labels),
        prototype_labels=own.numpy(),
        usage=usage.numpy(),
        purity=purity(segment_labels[rows], own).numpy(),
        relative_distance=(nearest_own / spacing).numpy(),
        spacing=spacing,
        duplicates=duplicate_pairs(head),
        nearest=tuple(
            tuple(_near(tracks, labels, distances, int(row), m) for row in rows[m, :named].tolist()) for m in range(len(own))
        ),
    )


def _near(tracks: EmbeddedTracks, labels: tuple[str, ...], distances: Tensor, row: int, prototype: int) -> NearSegment:
    track = int(tracks.tracks[row])
    name = tracks.names[track] if tracks.names else str(track)
    offset = float(tracks.offsets[row]) if tracks.offsets is not None else float("nan")
    return NearSegment(row, name, labels[int(tracks.labels[row])], offset, float(distances[row, prototype]))


@torch.no_grad()
def data_spacing(head: PrototypeHead, tracks: EmbeddedTracks, *, seed: int = 0) -> float:
    """Median length from a training segment to the nearest one of another track, in the head's own measure."""
    chosen = np.random.default_rng(seed).permutation(len(tracks.z))[:SPACING_SAMPLE]
    z = head.normalise(tracks.z.to(head.prototypes.device).float()).cpu()
    scale = z.shape[1] if head.config.distance_reduction == "mean" else 1
    nearest = []
    for part in np.array_split(chosen, max(1, len(chosen) // 250)):
        lengths = torch.cdist(z[part], z, compute_mode="donot_use_mm_for_euclid_dist")
        lengths[tracks.tracks[part][:, None] == tracks.tracks] = torch.inf
        nearest.append(lengths.amin(1))
    finite = torch.cat(nearest)
    finite = finite[finite.isfinite()]
    return float(finite.median() / scale**0.5) if len(finite) else float("nan")
