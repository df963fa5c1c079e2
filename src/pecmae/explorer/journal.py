"""Edits that nobody saved yet, on disk: a program that dies loses none, and the next start offers them."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pecmae.core.files import write_json

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Unsaved:
    """A history that an earlier session left."""

    path: Path
    when: float  # of the last edit, in seconds since 1970
    log: Mapping[str, Any]  # what `pecmae.editing.Editor.resume` takes

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: when, and what was done, in words."""
        return {"when": self.when, "edits": [str(entry.get("text", "")) for entry in self.log["edits"]]}


class Journal:
    """The history of one session, in a file of its own beside those of other sessions with the same model.

    Parameters
    ----------
    root : Path
        Where journals lie.
    original : str
        Digest of the model that is edited: its histories can be done again to no other.
    """

    def __init__(self, root: Path, original: str) -> None:
        self.folder = root / original[:32]
        # Two sessions that start in the same nanosecond are not made by people.
        self._path = self.folder / f"{time.time_ns()}.json"

    def write(self, log: Mapping[str, Any]) -> None:
        """Keep a history, whole or not at all; one without edits leaves nothing."""
        if not log["edits"]:
            self.clear()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {"format_version": FORMAT_VERSION, "when": time.time(), "log": dict(log)})

    def clear(self) -> None:
        """There is nothing to lose any more."""
        self._path.unlink(missing_ok=True)

    def found(self) -> Unsaved | None:
        """The newest history that another session left; None: there is none, or none that can be read."""
        files = sorted(self.folder.glob("*.json"), reverse=True) if self.folder.is_dir() else []
        for path in files:
            unsaved = None if path == self._path else _read(path)
            if unsaved is not None:
                return unsaved
        return None


def _read(path: Path) -> Unsaved | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] != FORMAT_VERSION or not values["log"]["edits"]:
            return None
        return Unsaved(path, float(values["when"]), values["log"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
