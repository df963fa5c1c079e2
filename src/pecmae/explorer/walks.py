"""A moment on its way to another class: scores at each step, and where the label flips.

Shapes: D width, n steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pecmae.editing.draft import Draft
from pecmae.prototypes.counterfactuals import shortest_walk
from pecmae.prototypes.head import scores_of

STEPS = 11


@dataclass(frozen=True, eq=False)
class WholeWalk:
    """The straight way of a segment to a prototype of another class, beyond where its label flips."""

    label: str
    rival: str
    prototype: int  # that it goes to, by the number that it keeps
    flips: float  # share of the way after which the label is the rival
    distance: float  # to there, in units of z
    shares: tuple[float, ...]  # of the way, of each step
    z: np.ndarray  # (n, D)
    scores: tuple[dict[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but z."""
        names = ("label", "rival", "prototype", "flips", "distance")
        return {name: getattr(self, name) for name in names} | {"shares": list(self.shares), "scores": list(self.scores)}


def whole_walk(draft: Draft, z: np.ndarray, rival: str) -> WholeWalk:
    """Walk from z [shape=(D,)] to a prototype of `rival`, on the shortest way that flips the label.

    Raises
    ------
    ValueError, PecmaeError
        As for `pecmae.prototypes.counterfactuals.shortest_walk`.
    """
    head, start = draft.head(), torch.from_numpy(np.array(z, np.float32))
    found = shortest_walk(head, draft.labels, start[None], rival)
    prototype = draft.ids[int(found.prototypes[0])]
    goal = torch.from_numpy(draft.z(prototype))
    shares = np.unique([*np.linspace(0, 1, STEPS), found.share])
    points = start + torch.from_numpy(shares.astype(np.float32))[:, None] * (goal - start)  # (n, D)
    points[-1] = goal  # without rounding: it sounds like the prototype
    with torch.no_grad():
        scores = scores_of(head(points), head.config).tolist()
    return WholeWalk(
        label=found.label,
        rival=found.rival,
        prototype=prototype,
        flips=found.share,
        distance=found.distance,
        shares=tuple(map(float, shares)),
        z=points.numpy(),
        scores=tuple(dict(zip(draft.labels, row, strict=True)) for row in scores),
    )
