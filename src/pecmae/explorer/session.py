"""One run of the app: an editor, tracks, sounds and the history on disk, for as many pages as look at it."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pecmae.core.files import cache_root, display_name
from pecmae.editing.draft import Draft
from pecmae.editing.editor import Editor, EditRefused
from pecmae.editing.edits import Edit
from pecmae.editing.sources import Tracks
from pecmae.errors import ConfigError, PecmaeError
from pecmae.explorer.journal import Journal
from pecmae.explorer.sounds import LARGEST_SEED, SoundMaker
from pecmae.explorer.tracks import Shelf
from pecmae.explorer.views import View
from pecmae.explorer.walks import whole_walk
from pecmae.explorer.wishes import curve_of, pruning_of, read_wish
from pecmae.model import PECMAE

# Edits whose making is remembered, so that what was looked at is what is done.
REMEMBERED = 32


class Stale(PecmaeError, ValueError):
    """Something was asked of a model that has changed since the page looked at it."""


class ReadOnly(PecmaeError, PermissionError):
    """A change was asked for where nothing may be changed."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders that a session writes to."""

    temporary: Path  # removed by whoever made it
    exports: Path  # where edited models go, each into a folder of its own
    sounds: Path | None = None  # None: beside the Hub's cache, like the journals
    journals: Path | None = None


class Session:
    """What all pages of one server see; many threads may ask it at once.

    Parameters
    ----------
    model : PECMAE
    tracks : Tracks
        Labelled, to measure edits on.
    name : str
        Of the model, as people should read it.
    places : Places
    num_inference_steps : int, optional
        Of sounds, as for `PECMAE.sonify`.
    read_only : bool
        Whether pages may only look and listen.
    """

    def __init__(
        self,
        model: PECMAE,
        tracks: Tracks,
        *,
        name: str,
        places: Places,
        num_inference_steps: int | None = None,
        read_only: bool = False,
    ) -> None:
        self.name, self.places, self.read_only = display_name(name), places, read_only
        self.editor = Editor(model, tracks)
        self.sounds = SoundMaker(
            model, cache_root() / "sounds" if places.sounds is None else places.sounds, num_inference_steps=num_inference_steps
        )
        self.shelf = Shelf(self.editor, places.temporary, self._tracks_changed)
        self._view = View(self.editor)
        root = cache_root() / "edits" if places.journals is None else places.journals
        self._journal = Journal(root, self.editor.original.digest)
        self._unsaved = None if read_only else self._journal.found()
        self._lock = threading.RLock()
        self._revision = self._tracks_revision = 0
        self._changed: frozenset[str] = frozenset()
        self._saved = self.editor.original.digest
        self._remembered: OrderedDict[tuple[int, str], Edit] = OrderedDict()

    def close(self) -> None:
        """Read no more tracks and make no more sounds."""
        self.shelf.close()
        self.sounds.close()

    # What pages look at.

    def state(self) -> dict[str, Any]:
        """What a page asks every moment: whether it has to look again."""
        return {"revision": self._revision, "tracks": self._tracks_revision, "sounds_waiting": self.sounds.waiting}

    def model(self) -> dict[str, Any]:
        """The model as it stands, its history, and how all edits together fare."""
        with self._lock:
            editor = self.editor
            total = editor.total()
            return {
                **self._view.model(editor.draft),
                "name": self.name,
                "about": editor.tracks.about,
                "segment_seconds": editor.model.autoencoder.config.segment_seconds,
                "read_only": self.read_only,
                "can_refit": editor.has_training,
                "revision": self._revision,
                "total": total.to_dict(),
                "history": [{"text": display_name(done.text), "insisted": done.insisted} for done in editor.history],
                "undone": [display_name(done.text) for done in editor.undone],
                "saved": editor.draft.digest == self._saved,
                "exports": display_name(self.places.exports),
                "export_name": f"{self.name.rpartition('/')[2]}-edited",
                "unsaved": None if self._unsaved is None else self._unsaved.to_dict(),
            }

    def prototype(self, number: int) -> dict[str, Any]:
        """What stands around one prototype."""
        with self._lock:
            return self._view.prototype(self.editor.draft, number)

    def tracks(self) -> dict[str, Any]:
        """All tracks, with their labels."""
        with self._lock:
            rows = self.shelf.rows(self.editor.draft, self._changed)
            return {"revision": self._revision, "tracks": self._tracks_revision, "rows": rows}

    def track(self, key: str) -> dict[str, Any]:
        """One track."""
        with self._lock:
            return self.shelf.details(key, self.editor.draft)

    # Sounds.

    def ask_sound(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Have something made audible: {"prototype"} or {"segment"} or {"track", "segment"}, and a "seed"."""
        seed = values.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
            raise ConfigError(f"{seed!r} is no seed; give a whole number from 0.")
        with self._lock:
            if "prototype" in values:
                z = self.editor.draft.z(values["prototype"])
            elif values.get("track") is not None:
                z = self.shelf.z(str(values["track"]), _number(values))
            else:
                known, segment = self.editor.choosing.tracks.z, _number(values)
                if not 0 <= segment < len(known):
                    raise ConfigError(f"There is no training segment {segment}.")
                z = known[segment].float().numpy()
        return {"sound": self.sounds.ask(z, seed)}

    def walk(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A segment's way to another class: {"track", "segment", "rival", "seed"}; each step gets the key of its sound."""
        with self._lock:
            draft = self.editor.draft
            z = self.shelf.z(str(values.get("track")), _number(values))
        found, seed = whole_walk(draft, z, str(values.get("rival"))), int(values.get("seed", 0))
        # What was asked for last is made first: the beginning of the way.
        keys = [self.sounds.ask(step, seed) for step in reversed(found.z)]
        return found.to_dict() | {"sounds": keys[::-1]}

    # Edits.

    def preview(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What an edit would do: {"edit", "revision"}."""
        with self._lock:
            edit = self._edit(values)
            after = edit.apply(self.editor.draft)
            effect = self.editor.preview(edit)
            return {
                "text": display_name(edit.describe(self.editor.draft)),
                "effect": effect.to_dict(),
                "summary": str(effect),
                "refused": self.editor.is_refused(effect, after),
                "prototypes": [len(self.editor.draft.ids), len(after.ids)],
                "revision": self._revision,
            }

    def pruning(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Which prototypes can go for a reason, and how far accuracy holds when the least missed go one by one."""
        with self._lock:
            plan = pruning_of(values, self.editor)
            curve = [
                {
                    "text": display_name(removal.text),
                    "prototypes": removal.prototypes,
                    "difference": removal.effect.difference,
                    "interval": list(removal.effect.interval),
                    "falls": removal.effect.falls,
                }
                for removal in curve_of(self.editor)
            ]
            return {"plan": None if plan is None else plan.to_dict(), "curve": curve, "revision": self._revision}

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do an edit: {"edit", "revision", "insist"}.

        Raises
        ------
        EditRefused, ConfigError, Stale, ReadOnly
        """
        with self._change() as before:
            self.editor.apply(self._edit(values), insist=values.get("insist") is True)
            return self._after(before)

    def step(self, values: Mapping[str, Any], way: Literal["undo", "redo"]) -> dict[str, Any]:
        """Undo the last edit or do it again: {"revision"}."""
        with self._change() as before:
            self._check(values)
            self.editor.undo() if way == "undo" else self.editor.redo()
            return self._after(before)

    def export(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write the edited model into a folder of its own: {"name", "revision"}."""
        with self._change():
            self._check(values)
            name = values.get("name")
            if not isinstance(name, str) or not _is_plain(name):
                raise ConfigError(f"{name!r} is no name of a folder; give letters, digits, dots, dashes and underscores.")
            target = self.places.exports / name
            if target.exists() and not (target / "edits.json").is_file():
                raise ConfigError(f"{target}: this is there already and holds no edited model; choose another name.")
            self.editor.save_pretrained(target)
            self._saved = self.editor.draft.digest
            self._journal.clear()
            self._revision += 1
            return {"directory": display_name(target), "revision": self._revision}

    def recover(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take up the history that an earlier session left, or ("discard") throw it away."""
        with self._change() as before:
            self._check(values)
            unsaved = self._unsaved
            if unsaved is None:
                raise ConfigError("There is nothing to take up.")
            if values.get("discard") is not True:
                if self.editor.history:
                    raise ConfigError("There are edits already; undo them before you take up others.")
                self.editor.resume(unsaved.log)
            answer = self._after(before)  # kept by this session before the other's is thrown away
            unsaved.path.unlink(missing_ok=True)
            self._unsaved = self._journal.found()
            return answer

    # How it holds together.

    def _change(self) -> "_Change":
        if self.read_only:
            raise ReadOnly("This app shows a model and changes nothing; run pecmae explore on your own machine to edit it.")
        return _Change(self)

    def _check(self, values: Mapping[str, Any]) -> None:
        if values.get("revision") != self._revision:
            raise Stale("The model was changed in another tab; look again before you go on.")

    def _edit(self, values: Mapping[str, Any]) -> Edit:
        """The edit that a page asks for; asked for twice of the same model, it is the same."""
        self._check(values)
        key = (self._revision, json.dumps(values.get("edit"), sort_keys=True))
        if key not in self._remembered:
            self._remembered[key] = read_wish(values.get("edit"), self.editor, self.shelf)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return self._remembered[key]

    def _after(self, before: Draft) -> dict[str, Any]:
        """Keep what was done, and mark the tracks whose label it changed."""
        was, now = self.shelf.labels(before), self.shelf.labels(self.editor.draft)
        self._changed = frozenset(key for key in now if was.get(key, now[key]) != now[key])
        self._journal.write(self.editor.log())
        self._revision += 1
        return {"revision": self._revision, "changed": len(self._changed)}

    def _tracks_changed(self) -> None:
        self._tracks_revision += 1


class _Change:
    """Nobody else changes the model meanwhile; gives the draft before."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Draft:
        self._session._lock.acquire()
        return self._session.editor.draft

    def __exit__(self, *_: object) -> None:
        self._session._lock.release()


def _number(values: Mapping[str, Any]) -> int:
    segment = values.get("segment")
    if not isinstance(segment, int) or isinstance(segment, bool):
        raise ConfigError(f"{segment!r} is no number of a segment.")
    return segment


def _is_plain(name: str) -> bool:
    """Whether a name is one folder and nothing hidden, on every system."""
    return re.fullmatch(r"\w[\w .-]{0,99}", name) is not None


__all__ = ["EditRefused", "Places", "ReadOnly", "Session", "Stale"]
