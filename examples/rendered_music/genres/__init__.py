"""The ten genres. Each module composes one: ``compose(rng, seconds)`` returns a song."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..score import Song
from . import blues, classical, country, disco, hiphop, jazz, metal, pop, reggae, rock

__all__ = ["GENRES"]

GENRES: dict[str, Callable[[np.random.Generator, float], Song]] = {
    module.__name__.rpartition(".")[2]: module.compose
    for module in (blues, classical, country, disco, hiphop, jazz, metal, pop, reggae, rock)
}
