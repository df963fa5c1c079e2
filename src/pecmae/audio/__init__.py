"""Any audio in, mono segments out."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.audio.preparation import PREPARED as PREPARED
    from pecmae.audio.preparation import PUBLISHED as PUBLISHED
    from pecmae.audio.preparation import Preparation as Preparation
    from pecmae.audio.preparation import Segment as Segment
    from pecmae.audio.segments import AudioSource as AudioSource
    from pecmae.audio.segments import find_audio_files as find_audio_files
    from pecmae.audio.segments import iter_segments as iter_segments
    from pecmae.audio.segments import load_audio as load_audio
    from pecmae.audio.segments import write_audio as write_audio

# Imported when first asked for, so that the room costs nothing to enter.
_MODULES = {
    "AudioSource": "segments",
    "PREPARED": "preparation",
    "PUBLISHED": "preparation",
    "Preparation": "preparation",
    "Segment": "preparation",
    "find_audio_files": "segments",
    "iter_segments": "segments",
    "load_audio": "segments",
    "write_audio": "segments",
}

__all__ = [*sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
