"""The console: options in, rows out."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.cli.app import main as main

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {"main": "app"}

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
