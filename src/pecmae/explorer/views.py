"""What a page shows of an edited model, as JSON: its prototypes and how they do, classes, weights, and a map.

Shapes: P points, D width, C classes, M prototypes, T measured tracks.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from pecmae.core.files import display_name
from pecmae.editing.draft import Draft
from pecmae.editing.editor import Editor
from pecmae.editing.pruning import Hold, hold_of
from pecmae.explorer.tracks import FROM_MEASURED
from pecmae.prototypes.measures import duplicate_pairs, purity
from pecmae.prototypes.neighbours import Neighbours

WIDTH, HEIGHT, MARGIN = 1000.0, 620.0, 30.0
# Tracks that the map shows, spread evenly over all of them.
POINTS = 1500
NEAREST = 5


@dataclass(frozen=True, eq=False)
class Plane:
    """The map: the two directions in which prototypes and tracks vary most; it stays where it is when prototypes move."""

    middle: np.ndarray  # (D,)
    directions: np.ndarray  # (2, D)
    low: np.ndarray  # (2,) of the points that it was made for
    high: np.ndarray  # (2,)
    share: float  # of the variance, that is seen

    @classmethod
    def of(cls, points: np.ndarray) -> "Plane":
        """The plane of points [shape=(P, D)]."""
        points = points.astype(np.float64)
        middle = points.mean(0)
        _, spread, directions = np.linalg.svd(points - middle, full_matrices=False)
        directions = np.pad(directions[:2], ((0, max(0, 2 - len(directions))), (0, 0)))
        # The sign of a direction is arbitrary; fixed, the same model gives the same map.
        directions *= np.where(directions[np.arange(2), np.abs(directions).argmax(1)] < 0, -1, 1)[:, None]
        flat = (points - middle) @ directions.T
        share = float((spread[:2] ** 2).sum() / max(float((spread**2).sum()), 1e-12))
        return cls(middle, directions, flat.min(0), flat.max(0), share)

    def places(self, points: np.ndarray) -> list[list[float]]:
        """Points [shape=(P, D)] in the picture's own units; those outside stand at its rim."""
        flat = (points.astype(np.float64) - self.middle) @ self.directions.T
        shares = np.clip((flat - self.low) / np.maximum(self.high - self.low, 1e-12), 0, 1)
        shares[:, 1] = 1 - shares[:, 1]
        room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
        return (MARGIN + shares * room).round(1).tolist()


class View:
    """Shows drafts of one editor; what a draft's prototypes are like is found out once."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        tracks = editor.tracks.measured
        middles = tracks.average(tracks.z.float()).numpy()  # (T, D)
        self._chosen = np.unique(np.linspace(0, len(middles) - 1, min(POINTS, len(middles))).round().astype(int))
        points = middles[self._chosen]
        self._plane = Plane.of(np.concatenate([_positions(editor.original), points]))
        self._points = self._plane.places(points)
        self._known = lru_cache(maxsize=4)(self._look)

    def model(self, draft: Draft) -> dict[str, Any]:
        """Everything about a draft but the tracks' labels."""
        neighbours, hold, hold_choosing, twins = self._known(draft)
        pure = purity(torch.from_numpy(neighbours.nearest_label), torch.from_numpy(draft.prototype_labels)).tolist()
        places = self._plane.places(_positions(draft))
        # What pruning calls harmful: it is missed neither by those that choices are made by nor by those that are measured.
        harmful = (hold_choosing.accuracy_without > hold_choosing.accuracy) & (hold.accuracy_without >= hold.accuracy)
        prototypes = [
            {
                "id": number,
                "name": display_name(draft.name(number)),
                "label": int(draft.prototype_labels[m]),
                "place": places[m],
                "weights": draft.weight[:, m].tolist(),
                "wins": int(neighbours.wins[m]),
                "purity": pure[m],
                "dead": not neighbours.wins[m],
                "harmful": bool(harmful[m]),
                "twins": [draft.ids[a + b - m] for a, b in twins if m in (a, b)],
                "decisions": int(hold.decisions[m]),
                "touched": self._is_touched(draft, number),
            }
            for m, number in enumerate(draft.ids)
        ]
        return {
            "labels": [display_name(label) for label in draft.labels],
            "bias": draft.bias.tolist(),
            "prototypes": prototypes,
            "num_segments": neighbours.num_segments,
            "points": [
                {"id": f"{FROM_MEASURED}{index}", "place": place, "label": int(self._true[index])}
                for index, place in zip(self._chosen.tolist(), self._points, strict=True)
            ],
            "map": {"width": WIDTH, "height": HEIGHT, "share": self._plane.share},
        }

    def prototype(self, draft: Draft, number: int) -> dict[str, Any]:
        """What stands around one prototype: segments that it can be moved to, those that are known by name, and its tracks."""
        m = draft.row(number)
        neighbours, hold, _, _ = self._known(draft)
        choosing, evaluation = self.editor.choosing, self.editor.measured.evaluate(draft)
        similarities = choosing.similarities(draft)[:, m]
        segment_labels = choosing.tracks.labels
        nearest = [
            {
                "segment": segment,
                "track": display_name(name),
                "start": None if np.isnan(start) else start,
                "label": int(segment_labels[segment]),
                "similarity": float(similarities[segment]),
            }
            for segment, name, start, _ in self.editor.nearest(number, NEAREST)
        ]
        hanging = np.flatnonzero(hold.without[m] != hold.predicted)
        return {
            "id": number,
            "nearest": nearest,
            "known": [
                near | {"track": display_name(near["track"])}
                for near in neighbours.nearest(m, NEAREST)
                if self.editor.tracks.kept is not None
            ],
            "hanging": [
                {
                    "id": f"{FROM_MEASURED}{index}",
                    "name": display_name(evaluation.names[index]),
                    "without": int(hold.without[m, index]),
                }
                for index in hanging.tolist()
            ],
        }

    @property
    def _true(self) -> np.ndarray:
        return self.editor.tracks.measured.track_labels.numpy()

    def _look(self, draft: Draft) -> tuple[Neighbours, Hold, Hold, tuple[tuple[int, int], ...]]:
        editor = self.editor
        seconds = editor.model.autoencoder.config.segment_seconds
        neighbours = editor.tracks.describe(draft, editor.original, seconds)
        hold = hold_of(editor.measured, draft)
        choosing = hold if editor.choosing is editor.measured else hold_of(editor.choosing, draft)
        return neighbours, hold, choosing, duplicate_pairs(draft.head())

    def _is_touched(self, draft: Draft, number: int) -> bool:
        """Whether a prototype is new, or stands, speaks or belongs elsewhere than in the original."""
        original = self.editor.original
        if number not in original.ids:
            return True
        old, new = original.row(number), draft.row(number)
        weights, count = draft.weight[: len(original.labels), new], len(original.labels)
        return bool(
            not np.array_equal(original.prototypes[old], draft.prototypes[new])
            or original.prototype_labels[old] != draft.prototype_labels[new]
            or not np.array_equal(original.weight[:count, old], weights)
        )


def _positions(draft: Draft) -> np.ndarray:
    """Prototypes in z's own space [shape=(M, D)]."""
    return np.stack([draft.z(number) for number in draft.ids])
