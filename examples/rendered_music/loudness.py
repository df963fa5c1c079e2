"""How loud the presets of a sound font are, so that a volume means the same for each of them.

Measured on FluidR3: A-weighted level in dB of three notes at velocity 90, dry, the loudest three quarters of a second.
"""

from __future__ import annotations

__all__ = ["channel_volume"]

# fmt: off
LEVELS = (
    -41, -41, -35, -41, -34, -37, -35, -33, -37, -32, -37, -40, -37, -43, -31, -40,  # pianos, chromatic percussion
    -42, -32, -33, -32, -34, -36, -37, -36, -35, -35, -31, -35, -40, -29, -27, -28,  # organs, guitars
    -47, -40, -40, -39, -43, -37, -43, -39, -34, -37, -36, -47, -35, -37, -37, -46,  # basses, strings
    -36, -33, -33, -32, -36, -35, -36, -37, -34, -29, -31, -35, -31, -33, -34, -35,  # ensembles, brass
    -32, -31, -30, -32, -32, -35, -35, -30, -35, -35, -34, -35, -33, -32, -30, -34,  # reeds, pipes
    -32, -31, -32, -35, -32, -35, -39, -33, -34, -41, -37, -36, -34, -30, -36, -31,  # leads, pads
    -34, -35, -37, -33, -35, -40, -37, -34, -37, -35, -40, -36, -41, -31, -34, -33,  # effects, folk
    -38, -41, -34, -44, -46, -40, -37, -44, -33, -33, -37, -29, -33, -56, -34, -33,  # percussion, noises
)
# fmt: on
LOW_PROGRAMS = {*range(32, 40), 43, 47}  # A-weighting underrates what lies low
TARGET, LOW_TARGET = -39.0, -47.0
LARGEST_CORRECTION = 8.0


def channel_volume(program: int, volume: int, *, drums: bool = False, balance_db: float = 0.0) -> int:
    """Give the MIDI channel volume (0 to 127) that makes a preset sound as loud as others at this volume.

    ``balance_db`` is added on top. A channel volume v has the gain 40 log10(v / 127) dB.
    """
    correction = 0.0
    if not drums:
        correction = (LOW_TARGET if program in LOW_PROGRAMS else TARGET) - LEVELS[program]
        correction = max(-LARGEST_CORRECTION, min(LARGEST_CORRECTION, correction))
    return int(max(1, min(127, round(volume * 10 ** ((correction + balance_db) / 40)))))
