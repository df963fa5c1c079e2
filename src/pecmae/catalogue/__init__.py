"""Whole archives: labels, reasons and embeddings of many tracks as a Parquet data set that grows, resumes and is searched."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pecmae.catalogue.run import CatalogueSettings as CatalogueSettings
    from pecmae.catalogue.run import build_catalogue as build_catalogue
    from pecmae.catalogue.search import similar_tracks as similar_tracks
    from pecmae.catalogue.store import Catalogue as Catalogue

# Imported when first asked for: pyarrow is an extra.
_MODULES = {"Catalogue": "store", "CatalogueSettings": "run", "build_catalogue": "run", "similar_tracks": "search"}

__all__ = [*sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
