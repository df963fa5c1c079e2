"""What a page asks to have done, as JSON, and the edits of `pecmae.editing` that do it.

Shapes: n places, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pecmae.core.configs import is_of_type
from pecmae.editing.editor import Editor
from pecmae.editing.edits import Add, AddClass, ChangeClass, Edit, Merge, Move, RenameClass, SetWeight, Together
from pecmae.editing.pruning import KINDS, Pruning, Removal, plan_pruning, removal_curve
from pecmae.errors import ConfigError
from pecmae.explorer.tracks import Shelf

# Removals that are looked at beyond the one that the interval says no to.
BEYOND = 5
# Prototypes of a class that is made of a few clips, unless somebody asks for another number.
OF_A_CLASS = 3


@dataclass(frozen=True)
class Place:
    """A point in the space of z: a segment of a track on the shelf, or one of those that choices are made by."""

    track: str | None
    segment: int


def read_wish(values: Any, editor: Editor, shelf: Shelf) -> Edit:
    """The edit that a page asks for.

    Parameters
    ----------
    values : mapping
        "kind" and what that takes, see `_KINDS`.
    editor : Editor
    shelf : Shelf
        Where places are looked up.

    Raises
    ------
    ConfigError
        It asks for nothing that can be done.
    """
    kind = _KINDS.get(str(values.get("kind"))) if isinstance(values, Mapping) else None
    if kind is None:
        raise ConfigError(f"There is no such edit; choose one of {', '.join(_KINDS)}.")
    return kind(_Wish(values, editor, shelf))


class _Wish:
    """The values of a wish, each taken with its type."""

    def __init__(self, values: Mapping[str, Any], editor: Editor, shelf: Shelf) -> None:
        self.values, self.editor, self.shelf = values, editor, shelf

    def take(self, name: str, kind: Any, default: Any = None) -> Any:
        value = self.values.get(name, default)
        value = tuple(value) if isinstance(value, list) else value
        if not is_of_type(value, kind):
            raise ConfigError(f"{name}={value!r} is of another type than this edit takes.")
        return value

    @property
    def prototype(self) -> int:
        return self.take("prototype", int)

    @property
    def label(self) -> str:
        return self.take("label", str)

    def z(self) -> tuple[np.ndarray, str]:
        """z of all places (n, D), and what to call them."""
        places = [_place(value) for value in self.take("places", tuple[dict, ...])]  # type: ignore[type-arg]
        if not places:
            raise ConfigError("No moment was chosen; choose one or more.")
        return np.stack([self._z(place) for place in places]), self._source(places)

    def _z(self, place: Place) -> np.ndarray:
        if place.track is not None:
            return self.shelf.z(place.track, place.segment)
        z = self.editor.choosing.tracks.z
        if not 0 <= place.segment < len(z):
            raise ConfigError(f"There is no training segment {place.segment}; choose one of the list.")
        return z[place.segment].float().numpy()

    def _source(self, places: Sequence[Place]) -> str:
        first = places[0]
        if first.track is not None:
            name = self.shelf.place_name(first.track, first.segment)
        else:
            tracks = self.editor.choosing.tracks
            track = int(tracks.tracks[first.segment])
            name = tracks.names[track] if tracks.names else f"training segment {first.segment + 1}"
        return name if len(places) == 1 else f"{name} and {len(places) - 1} more"


def _place(values: Mapping[str, Any]) -> Place:
    track, segment = values.get("track"), values.get("segment")
    if not isinstance(segment, int) or not (track is None or isinstance(track, str)):
        raise ConfigError("A place is a track of the list and the number of its segment.")
    return Place(track, segment)


def pruning_of(values: Mapping[str, Any], editor: Editor) -> Pruning | None:
    """What "prune" would do; None where it would do nothing."""
    kinds = tuple(kind for kind in KINDS if kind in values.get("reasons", KINDS))
    plan = plan_pruning(editor, kinds)
    return plan if plan.steps else None


def curve_of(editor: Editor) -> list[Removal]:
    """Prototypes taken out one by one, the least missed first, until some time after the interval says no."""
    found, beyond = [], 0
    for removal in removal_curve(editor, refit_every=len(editor.draft.ids) + 1):
        found.append(removal)
        beyond += removal.effect.falls
        if beyond > BEYOND:
            break
    return found


def _remove(wish: _Wish) -> Edit:
    return wish.editor.removal(wish.prototype)


def _merge(wish: _Wish) -> Edit:
    return Merge(wish.take("prototypes", tuple[int, ...]))


def _move(wish: _Wish) -> Edit:
    z, source = wish.z()
    return Move(wish.prototype, z.mean(0), source if len(z) == 1 else f"the middle of {source}")


def _change_class(wish: _Wish) -> Edit:
    return ChangeClass(wish.prototype, wish.label)


def _rename(wish: _Wish) -> Edit:
    return RenameClass(wish.label, wish.take("name", str))


def _weight(wish: _Wish) -> Edit:
    return SetWeight(wish.prototype, wish.label, float(wish.take("weight", float)))


def _add(wish: _Wish) -> Edit:
    z, source = wish.z()
    return Add(wish.label, z.mean(0), source if len(z) == 1 else f"the middle of {source}")


def _add_class(wish: _Wish) -> Edit:
    z, source = wish.z()
    count = min(wish.take("count", int, OF_A_CLASS), len(z))
    if count < 1:
        raise ConfigError(f"{count} prototypes make no class; choose 1 or more.")
    return AddClass(wish.label, _centres(z, count), source)


def _centres(z: np.ndarray, count: int) -> np.ndarray:
    """k-means centres (count, D) of z (n, D)."""
    if count == len(z):
        return z
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=10, random_state=0).fit(z.astype(np.float64)).cluster_centers_.astype(np.float32)


def _refit(wish: _Wish) -> Edit:
    return wish.editor.refitted(float(wish.take("penalty", float, 1e-3)))


def _prune(wish: _Wish) -> Edit:
    plan = pruning_of(wish.values, wish.editor)
    if plan is None:
        raise ConfigError("Nothing can go for a reason: no twins, none that no audio is close to, and none that does harm.")
    return plan.edit_refitted if wish.take("refit", bool, False) else plan.edit


def _take_out(wish: _Wish) -> Edit:
    count, curve = wish.take("count", int), curve_of(wish.editor)
    if not 1 <= count <= len(curve):
        raise ConfigError(f"{count} prototypes cannot be taken out; choose 1 to {len(curve)}.")
    edits = tuple(removal.edit for removal in curve[:count])
    if not wish.take("refit", bool, False):
        return Together(edits, f"take out the {count} least missed")
    draft = wish.editor.draft
    for edit in edits:
        draft = edit.apply(draft)
    return Together((*edits, wish.editor.refitted(draft=draft)), f"take out the {count} least missed and refit")


_KINDS: Mapping[str, Callable[[_Wish], Edit]] = {
    "remove": _remove,
    "merge": _merge,
    "move": _move,
    "change class": _change_class,
    "rename class": _rename,
    "set weight": _weight,
    "add": _add,
    "add class": _add_class,
    "refit": _refit,
    "prune": _prune,
    "take out": _take_out,
}
