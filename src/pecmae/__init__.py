"""pecmae: classify audio by prototypes you can listen to.

Letters of the shapes in all docstrings: B batch, S segments, N samples, T frames, F codec features, D embedding width,
C classes, K prototypes per class, M = C · K prototypes.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pecmae.autoencoder.config import AutoencoderConfig as AutoencoderConfig
    from pecmae.autoencoder.config import AutoencoderReference as AutoencoderReference
    from pecmae.autoencoder.model import Autoencoder as Autoencoder
    from pecmae.autoencoder.scheduler import VDiffusionScheduler as VDiffusionScheduler
    from pecmae.errors import AudioError as AudioError
    from pecmae.errors import AudioWarning as AudioWarning
    from pecmae.errors import CheckpointError as CheckpointError
    from pecmae.errors import ConfigError as ConfigError
    from pecmae.errors import HubError as HubError
    from pecmae.errors import PecmaeError as PecmaeError
    from pecmae.finetuning import fit as fit
    from pecmae.interop.embedding_model import EmbeddingModel as EmbeddingModel
    from pecmae.interop.embeddings import fit_embeddings as fit_embeddings
    from pecmae.interop.pipeline import pipeline as pipeline
    from pecmae.model import PECMAE as PECMAE
    from pecmae.prototypes.config import PrototypeHeadConfig as PrototypeHeadConfig
    from pecmae.prototypes.explanations import Explanation as Explanation
    from pecmae.prototypes.head import PrototypeHead as PrototypeHead
    from pecmae.prototypes.outputs import Prediction as Prediction

# Where each public name lives. They are imported when first asked for: torch alone costs a second.
_MODULES = {
    "Autoencoder": "autoencoder.model",
    "AutoencoderConfig": "autoencoder.config",
    "PrototypeHeadConfig": "prototypes.config",
    "AudioError": "errors",
    "AudioWarning": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "HubError": "errors",
    "PecmaeError": "errors",
    "fit": "finetuning",
    "EmbeddingModel": "interop.embedding_model",
    "fit_embeddings": "interop.embeddings",
    "AutoencoderReference": "autoencoder.config",
    "PECMAE": "model",
    "pipeline": "interop.pipeline",
    "Explanation": "prototypes.explanations",
    "Prediction": "prototypes.outputs",
    "PrototypeHead": "prototypes.head",
    "VDiffusionScheduler": "autoencoder.scheduler",
}

__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pecmae' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"pecmae.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "accelerate":
            raise
        from pecmae.errors import PecmaeError

        raise PecmaeError(f"pecmae.{name} needs accelerate; install it with pip install 'pecmae[train]'.") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
