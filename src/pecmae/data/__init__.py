"""Labelled audio and its z."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.data.collection import Clip as Clip
    from pecmae.data.collection import Collection as Collection
    from pecmae.data.load import load_collection as load_collection

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {"Clip": "collection", "Collection": "collection", "load_collection": "load"}

__all__ = ["Clip", "Collection", "load_collection"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
