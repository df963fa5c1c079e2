"""What a hostile file is called here, and the ways in which bytes go bad."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Case:
    """Something to be read."""

    kind: str  # "audio", "model" or "table"
    path: Path
    how: str  # what was done to it


Mutation = Callable[[bytes, np.random.Generator], bytes]

# Values that sizes and counts are replaced by: none, the ends of their types, and numbers just beside them.
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
HEADER = 64  # bytes in which most formats say what they are


def truncated(data: bytes, draws: np.random.Generator) -> bytes:
    """Only its beginning, often only some of its header."""
    end = len(data) if draws.random() < 0.6 else min(len(data), 2 * HEADER)
    return data[: draws.integers(end)]


def bits_flipped(data: bytes, draws: np.random.Generator) -> bytes:
    """With some bits anywhere the other way round."""
    return _flipped(data, draws, len(data))


def header_flipped(data: bytes, draws: np.random.Generator) -> bytes:
    """With some bits of its header the other way round."""
    return _flipped(data, draws, HEADER)


def _flipped(data: bytes, draws: np.random.Generator, end: int) -> bytes:
    changed = bytearray(data)
    for place in draws.integers(min(end, len(data)), size=draws.integers(1, 9)).tolist():
        changed[place] ^= 1 << int(draws.integers(8))
    return bytes(changed)


def number_replaced(data: bytes, draws: np.random.Generator) -> bytes:
    """With an extreme value in the place of two or four bytes of its header."""
    width = int(draws.choice([2, 4]))
    place = int(draws.integers(2, HEADER)) // 2 * 2
    value = int(draws.choice(EXTREMES)) % 256**width
    return data[:place] + value.to_bytes(width, "little" if draws.random() < 0.5 else "big") + data[place + width :]


def stretch_overwritten(data: bytes, draws: np.random.Generator) -> bytes:
    """With noise, zeros or ones in the place of a stretch."""
    start = int(draws.integers(len(data)))
    length = min(int(draws.integers(1, 400)), len(data) - start)
    filling = [draws.bytes(length), bytes(length), b"\xff" * length][int(draws.integers(3))]
    return data[:start] + filling + data[start + length :]


def stretch_inserted(data: bytes, draws: np.random.Generator) -> bytes:
    """With noise between its bytes, so that all that follows lies elsewhere."""
    start = int(draws.integers(len(data)))
    return data[:start] + draws.bytes(int(draws.integers(1, 200))) + data[start:]


def stretch_removed(data: bytes, draws: np.random.Generator) -> bytes:
    """Without some of its bytes."""
    start = int(draws.integers(len(data)))
    return data[:start] + data[start + int(draws.integers(1, 400)) :]


def repeated(data: bytes, draws: np.random.Generator) -> bytes:
    """Followed by itself, whole or in part."""
    return data + data[int(draws.integers(len(data))) if draws.random() < 0.5 else 0 :]


def followed_by_noise(data: bytes, draws: np.random.Generator) -> bytes:
    """With something behind its end."""
    return data + draws.bytes(int(draws.integers(1, 4000)))


MUTATIONS: tuple[Mutation, ...] = (
    *(truncated, bits_flipped, header_flipped, number_replaced, stretch_overwritten),
    *(stretch_inserted, stretch_removed, repeated, followed_by_noise),
)


def mutated(data: bytes, draws: np.random.Generator) -> tuple[bytes, str]:
    """Data after one or two mutations, and their names."""
    names = []
    for mutation in draws.choice(len(MUTATIONS), size=draws.integers(1, 3)).tolist():
        if not data:
            break
        data = MUTATIONS[mutation](data, draws)
        names.append(MUTATIONS[mutation].__name__)
    return data, " and ".join(names)
