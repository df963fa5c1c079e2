"""Sound to z and back."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.autoencoder.config import AutoencoderConfig as AutoencoderConfig
    from pecmae.autoencoder.model import Autoencoder as Autoencoder
    from pecmae.autoencoder.model import convert_autoencoder as convert_autoencoder
    from pecmae.autoencoder.model import convert_autoencoder_files as convert_autoencoder_files

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {
    "Autoencoder": "model",
    "AutoencoderConfig": "config",
    "convert_autoencoder": "model",
    "convert_autoencoder_files": "model",
}

__all__ = ["Autoencoder", "AutoencoderConfig", "convert_autoencoder", "convert_autoencoder_files"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
