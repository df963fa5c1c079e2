"""Prototypes edited by hand: what an edit would do before it is done, undo, and a log that can be replayed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.editing.editor import Editor as Editor
    from pecmae.editing.editor import EditRefused as EditRefused
    from pecmae.editing.edits import Add as Add
    from pecmae.editing.edits import AddClass as AddClass
    from pecmae.editing.edits import ChangeClass as ChangeClass
    from pecmae.editing.edits import Merge as Merge
    from pecmae.editing.edits import Move as Move
    from pecmae.editing.edits import Refit as Refit
    from pecmae.editing.edits import Remove as Remove
    from pecmae.editing.edits import RenameClass as RenameClass
    from pecmae.editing.edits import SetWeight as SetWeight
    from pecmae.editing.edits import Together as Together
    from pecmae.editing.effect import Effect as Effect
    from pecmae.editing.log import replay as replay

_EDITS = ("Add", "AddClass", "ChangeClass", "Merge", "Move", "Refit", "Remove", "RenameClass", "SetWeight", "Together")
_PUBLIC = dict.fromkeys(_EDITS, "edits") | {"Editor": "editor", "EditRefused": "editor", "Effect": "effect", "replay": "log"}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pecmae.editing.{_PUBLIC[name]}"), name)
