"""GTZAN in the layout it is distributed in, filtered and split as in the paper."""

import os
from collections.abc import Mapping
from pathlib import Path

from pecmae.audio.segments import AUDIO_EXTENSIONS
from pecmae.data.collection import Clip, Collection
from pecmae.data.medley_solos_db import _files

# Numbers that Sturm (2013) found repeated, mislabelled or distorted; all others of 0 … 99 are used.
GTZAN_EXCLUDED: Mapping[str, frozenset[int]] = {
    "blues": frozenset(),
    "classical": frozenset({*range(20, 27), 49}),
    "country": frozenset({2, 39}),
    "disco": frozenset({3, 11, 20, 23, 26, 27, 29, 34}),
    "hiphop": frozenset({3, 5, 26, 29, 31, 38, 40}),
    "jazz": frozenset({0, 1, 52, 54, 66}),
    "metal": frozenset({21, 29, 33, 46, 50, 51, 58, 59, 60, 71, 72, 73, 79, 84, 86, 97}),
    "pop": frozenset({9, 15, 21, 22, 61, 63, 65, 81}),
    "reggae": frozenset({52, 86, 99}),
    "rock": frozenset({1, 2, 4, *range(10, 16), 27, 36, 38, 40, 47, 62, 63, *range(71, 79), 90}),
}
# The repaired clip that stands for reggae.00086; it is no part of the usual distributions, so it is used where it exists.
GTZAN_REPAIRED = {"reggae": 99986}
GTZAN_FOLDERS = ("genres_original", "genres", "Data/genres_original", "")


def gtzan_split(number: int) -> str:
    """Split of a clip by the last digit of its number: 8 is validation, 9 is test."""
    return {8: "validation", 9: "test"}.get(number % 10, "train")


def gtzan(root: str | os.PathLike[str]) -> Collection:
    """GTZAN, fault-filtered: 732 clips to train, 96 to validate, 91 to test.

    Parameters
    ----------
    root : path
        The unpacked distribution, which holds `genres_original/GENRE/GENRE.NNNNN.wav` (or `genres/…`, with .wav or .au).

    Raises
    ------
    FileNotFoundError
        There is no such folder, or none with the ten genres in it.
    """
    folder = _gtzan_folder(Path(root).expanduser())
    splits: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for label, excluded in GTZAN_EXCLUDED.items():
        present = {path.stem: path for path in _files(folder / label, AUDIO_EXTENSIONS)}
        repaired = f"{label}.{GTZAN_REPAIRED.get(label, 0):05d}"
        numbers = [number for number in range(100) if number not in excluded]
        if label in GTZAN_REPAIRED and repaired in present:
            numbers.append(GTZAN_REPAIRED[label])
        for number in numbers:
            stem = f"{label}.{number:05d}"
            path = present.get(stem, folder / label / f"{stem}.wav")
            splits[gtzan_split(number)].append(Clip(path, label))
    return Collection(
        "GTZAN (fault-filtered)",
        {split: tuple(clips) for split, clips in splits.items()},
        "GTZAN without the repeated, mislabelled and distorted clips that Sturm (2013) found; clips whose number ends in 8 "
        "validate, in 9 test.",
    )


def _gtzan_folder(root: Path) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that GTZAN was unpacked to.")
    for inside in GTZAN_FOLDERS:
        if all((root / inside / label).is_dir() for label in GTZAN_EXCLUDED):
            return root / inside
    raise FileNotFoundError(
        f"{root}: it holds no folder with GTZAN's ten genres; expected genres_original/blues/blues.00000.wav and so on."
    )
