"""What other ecosystems expect: ONNX, transformers' pipelines, HEAR."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.interop.onnx import export_onnx as export_onnx
    from pecmae.interop.pipeline import AudioClassificationPipeline as AudioClassificationPipeline
    from pecmae.interop.pipeline import pipeline as pipeline

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {"AudioClassificationPipeline": "pipeline", "export_onnx": "onnx", "pipeline": "pipeline"}

__all__ = [*sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
