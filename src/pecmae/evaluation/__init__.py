"""How good a model is, measured."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.evaluation.tracks import Evaluation as Evaluation
    from pecmae.evaluation.tracks import evaluate_embedded as evaluate_embedded

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {"Evaluation": "tracks", "evaluate_embedded": "tracks"}

__all__ = ["Evaluation", "evaluate_embedded"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
