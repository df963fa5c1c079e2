"""Folders of tiny sounds under the names of real data sets."""

import csv
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import numpy as np
import soundfile

from pecmae.data.gtzan import GTZAN_EXCLUDED
from pecmae.data.medley_solos_db import MEDLEY_LABELS, MEDLEY_METADATA

RATE = 8000


def write_tone(path: Path, number: int, seconds: float = 0.05) -> Path:
    """A short sound that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(RATE * seconds)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (100 + 0.7 * number) * t + 0.01 * number), RATE)
    return path


def write_gtzan(
    root: Path, numbers: Iterable[int] = range(100), *, folder: str = "genres_original", repaired: bool = True
) -> Path:
    """GTZAN as it is unpacked: all hundred clips of each genre, the faulty ones too."""
    for index, label in enumerate(GTZAN_EXCLUDED):
        for number in numbers:
            write_tone(root / folder / label / f"{label}.{number:05d}.wav", 100 * index + number)
    if repaired:
        write_tone(root / folder / "reggae" / "reggae.99986.wav", 5000)
    return root


def write_medley(root: Path, per_class: int = 2, *, extension: str = ".wav.wav") -> Path:
    """Medley-Solos-DB as it is distributed, with `per_class` clips of each instrument in each subset."""
    rows = []
    for s, subset in enumerate(("training", "validation", "test")):
        for instrument_id, instrument in enumerate(MEDLEY_LABELS):
            for number in range(per_class):
                uuid = str(UUID(int=(s * 8 + instrument_id) * 1000 + number))
                write_tone(
                    root / "audio" / f"Medley-solos-DB_{subset}-{instrument_id}_{uuid}{extension}", len(rows), seconds=0.1
                )
                rows.append([subset, instrument, instrument_id, 100 * s + number, uuid])
    (root / "annotation").mkdir(parents=True, exist_ok=True)
    with (root / "annotation" / MEDLEY_METADATA).open("w", newline="") as file:
        csv.writer(file).writerows([["subset", "instrument", "instrument_id", "song_id", "uuid4"], *rows])
    return root
