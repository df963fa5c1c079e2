"""What other ecosystems have and expect: embeddings of other models, scikit-learn, ONNX, transformers' pipelines, HEAR."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.interop.embedding_model import EmbeddingModel as EmbeddingModel
    from pecmae.interop.embeddings import fit_embeddings as fit_embeddings
    from pecmae.interop.encoders import CallableEncoder as CallableEncoder
    from pecmae.interop.estimator import PrototypeClassifier as PrototypeClassifier
    from pecmae.interop.labelled_embeddings import embed_collection as embed_collection
    from pecmae.interop.onnx import export_onnx as export_onnx
    from pecmae.interop.pipeline import AudioClassificationPipeline as AudioClassificationPipeline
    from pecmae.interop.pipeline import pipeline as pipeline

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {
    "AudioClassificationPipeline": "pipeline",
    "CallableEncoder": "encoders",
    "EmbeddingModel": "embedding_model",
    "PrototypeClassifier": "estimator",
    "embed_collection": "labelled_embeddings",
    "export_onnx": "onnx",
    "fit_embeddings": "embeddings",
    "pipeline": "pipeline",
}

__all__ = [*sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
