"""What would have to be different for another label: the shortest walk of z towards a rival's prototypes that flips it.

The walk goes straight to a prototype of the other class, in z's own space: prototypes lie among the training data, so that the
points between are as near to it as a straight line stays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pecmae.audio.players import Players, players
from pecmae.core.devices import answering
from pecmae.errors import PecmaeError
from pecmae.prototypes.head import PrototypeHead

# Places along the walk that are heard, as shares of it; the first is the track as it is, the last where the label flips.
STOPS = (0.0, 0.25, 0.5, 0.75, 1.0)
GRID = 200
HALVINGS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """The way of a track's segments towards prototypes of another class, as far as the label flips."""

    label: str  # that the track has
    rival: str  # and that it gets
    share: float  # of the way to the prototypes, in (0, 1]
    distance: float  # that the segments go, root mean square over them, in units of z: the margin of the label
    prototypes: np.ndarray  # (S,) row of the prototype that each segment goes to
    z: Tensor  # (stops, S, D) the segments at `STOPS`
    logits: np.ndarray  # (stops, C) of the track there


@dataclass(frozen=True, kw_only=True, eq=False)
class Counterfactual:
    """A walk that flips a label, and how it sounds: one segment, from the same noise at every stop."""

    label: str
    rival: str
    stops: tuple[float, ...]
    scores: tuple[dict[str, float], ...]  # of the track at each stop
    sounds: np.ndarray  # (stops, N) float32
    heard_as: tuple[str, ...]  # what the model calls each sound when it hears it
    sampling_rate: int
    segment: int  # the one that is heard
    prototype: str  # that it goes to, such as "blues 2"
    distance: float  # root mean square over segments, in units of z
    share: float  # of the way to the prototypes

    @property
    def verified(self) -> bool:
        """Whether the last sound is heard as the rival, and the first as the label."""
        return self.heard_as[0] == self.label and self.heard_as[-1] == self.rival

    def players(self) -> Players:
        """The sounds, for a notebook."""
        titles = []
        for stop, score, heard in zip(self.stops, self.scores, self.heard_as, strict=True):
            scores = ", ".join(f"{name} {score[name]:.2f}" for name in (self.label, self.rival))
            titles.append(f"{stop:.0%} of the way: {scores}; heard as {heard}")
        return players(titles, list(self.sounds), self.sampling_rate)

    def __repr__(self) -> str:
        return (
            f"Counterfactual: {self.label} becomes {self.rival} after {self.share:.0%} of the way to {self.prototype}, "
            f"{self.distance:.3g} in z\n  heard as {', '.join(self.heard_as)}"
        )

    def _repr_html_(self) -> str:
        return self.players()._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the sounds."""
        names = ("label", "rival", "share", "distance", "segment", "prototype", "verified")
        lists = {"stops": list(self.stops), "scores": list(self.scores), "heard_as": list(self.heard_as)}
        return {name: getattr(self, name) for name in names} | lists


def shortest_walk(
    head: PrototypeHead, labels: tuple[str, ...], z: Tensor, rival: str, *, weights: np.ndarray | None = None
) -> Walk:
    """Find the shortest walk that gives a track the label `rival`.

    All segments go the same share of their way, each straight to a prototype of the rival: the nearest one of each, or one and
    the same for all, whichever flips the label after the shorter distance.

    Parameters
    ----------
    head : PrototypeHead
    labels : tuple of str
    z : Tensor [shape=(S, D)]
        Of the track's segments, or of one of them.
    rival : str
    weights : np.ndarray [shape=(S,)], optional
        What each segment is worth.

    Raises
    ------
    ValueError
        There is no such class, or the track has that label already.
    PecmaeError
        Not even the prototypes themselves get that label.
    """
    if rival not in labels:
        raise ValueError(f"{rival!r} is not a class of this model; choose from {', '.join(labels)}.")
    head, z = head.in_float32(), z.float().cpu()
    worth = torch.from_numpy(np.ones(len(z)) if weights is None else np.asarray(weights, np.float64))
    worth = worth / worth.sum()
    wanted = labels.index(rival)

    def logits_at(points: Tensor) -> Tensor:
        """Of the track (n, C) whose segments are at `points` (n, S, D), float64."""
        with answering(head.prototypes.device):
            found = head(points.flatten(0, 1).to(head.prototypes.device)).double().cpu().unflatten(0, points.shape[:2])
        return (found * worth[:, None]).sum(1)

    start = logits_at(z[None])[0]
    label = labels[int(start.argmax())]
    if label == rival:
        raise ValueError(f"the track is called {rival!r} already; ask for another class.")
    projected = head.projected_prototypes().float().cpu()  # (M, D)
    rows = torch.nonzero(head.prototype_labels.cpu() == wanted)[:, 0]  # (K,)
    nearest = rows[torch.cdist(z, projected[rows]).argmin(1)]  # (S,)
    shares = torch.linspace(0, 1, GRID + 1)[1:]
    best: tuple[float, float, Tensor] | None = None  # distance, share, prototypes
    for goal in (nearest, *(row.expand(len(z)) for row in rows)):
        way = projected[goal] - z  # (S, D)
        length = float((way.square().sum(1).double() * worth).sum().sqrt())
        flips = logits_at(z + shares[:, None, None] * way).argmax(1) == wanted
        if not flips.any():
            continue
        high = float(shares[int(flips.to(torch.uint8).argmax())])
        low = high - 1 / GRID
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if int(logits_at((z + middle * way)[None]).argmax()) == wanted else (middle, high)
        if best is None or high * length < best[0]:
            best = high * length, high, goal
    if best is None:
        raise PecmaeError(f"no way to a prototype of {rival!r} gives the track that label; the class hardly speaks for itself.")
    distance, share, goal = best
    stops = torch.tensor(STOPS)[:, None, None] * share
    points = z + stops * (projected[goal] - z)  # (stops, S, D)
    return Walk(
        label=label, rival=rival, share=share, distance=distance, prototypes=goal.numpy(), z=points,
        logits=logits_at(points).numpy(),
    )  # fmt: skip
