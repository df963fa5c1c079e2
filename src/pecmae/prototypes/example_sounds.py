"""Sounds that stand for prototypes which no decoder can make heard: those of the training segments nearest to them.

Shapes: N samples, M prototypes.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pecmae.audio.segments import load_audio, write_audio
from pecmae.errors import CheckpointError, PecmaeError
from pecmae.hub.resolve import EXAMPLES_FOLDER

# Training segments that are kept of each prototype, each of another track.
KEPT = 3


@dataclass(frozen=True, eq=False)
class ExampleSounds:
    """Training segments nearest to prototypes, the nearest first: what pages play where nothing can be sonified."""

    sounds: Mapping[int, tuple[np.ndarray, ...]]  # by prototype, each (N,)
    sampling_rate: int

    def has(self, prototype: int) -> bool:
        """Whether there is a sound for a prototype (0 … M-1)."""
        return prototype in self.sounds

    def get(self, prototype: int, seed: int = 0) -> np.ndarray:
        """The sound of the nearest training segment [shape=(N,)], or of the next ones for a `seed` above 0, in turn.

        Raises
        ------
        PecmaeError
            The prototype has none.
        """
        if not self.has(prototype):
            raise PecmaeError(f"Prototype {prototype} has no sound: no audio was given for the segments nearest to it.")
        kept = self.sounds[prototype]
        return kept[seed % len(kept)]

    def make(self, sounds: Iterable[tuple[int, int]], advance: Callable[[], None] = lambda: None) -> None:
        """Nothing is to be made; `advance` is called for each."""
        for _ in sounds:
            advance()

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write them as FLAC into a folder of their own; returns it."""
        folder = Path(directory) / EXAMPLES_FOLDER
        folder.mkdir(exist_ok=True)
        for prototype, kept in self.sounds.items():
            for rank, samples in enumerate(kept):
                write_audio(folder / f"{prototype}-{rank}.flac", np.clip(samples, -1, 1), self.sampling_rate)
        return folder

    @classmethod
    def load(cls, directory: str | os.PathLike[str], sampling_rate: int) -> Self | None:
        """Read them from a model's directory; None where there are none.

        Raises
        ------
        CheckpointError
            A file has a name that none of them has.
        """
        paths: dict[tuple[int, int], Path] = {}
        for path in (Path(directory) / EXAMPLES_FOLDER).glob("*.flac"):
            if not (named := re.fullmatch(r"(\d+)-(\d+)", path.stem, re.ASCII)):
                raise CheckpointError(f"{path}: is no sound of a prototype, which are called such as 3-0.flac; move it away.")
            paths[int(named[1]), int(named[2])] = path
        found: dict[int, list[np.ndarray]] = {}
        for (prototype, _), path in sorted(paths.items()):
            found.setdefault(prototype, []).append(load_audio(path, target_rate=sampling_rate))
        return cls({prototype: tuple(kept) for prototype, kept in found.items()}, sampling_rate) if found else None
