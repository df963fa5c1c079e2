"""Public data sets in the layout they are distributed in: GTZAN and Medley-Solos-DB, filtered and split as in the paper.

The layouts are read here and not by mirdata (1.0), which has a loader for each. Neither lists a track before its index was
fetched from Zenodo into the installed package, and both bring librosa, pandas and clients of cloud stores along. For GTZAN the
index knows no split and no faulty clip, wants one of the folder layouts, and calls a genre hip-hop; for Medley-Solos-DB it adds
MD5 sums to the metadata file that is read here. A damaged file is found without them, when it is checked or embedded.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pecmae.audio import AUDIO_EXTENSIONS, find_audio_files
from pecmae.collection import Clip, Collection
from pecmae.errors import ConfigError
from pecmae.split_names import name_splits
from pecmae.tables import read_rows

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

MEDLEY_METADATA = "Medley-solos-DB_metadata.csv"
MEDLEY_LABELS = (
    *("clarinet", "distorted electric guitar", "female singer", "flute"),
    *("piano", "tenor saxophone", "trumpet", "violin"),
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


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


def medley_solos_db(root: str | os.PathLike[str]) -> Collection:
    """Medley-Solos-DB with its own split: 5 841 clips to train, 3 494 to validate, 12 236 to test.

    Parameters
    ----------
    root : path
        The folder that holds `Medley-solos-DB_metadata.csv` (itself or in a folder such as `annotation/`) and, anywhere below,
        the unpacked `Medley-solos-DB_SUBSET-INSTRUMENTID_UUID.wav` (some releases: `.wav.wav`).

    Raises
    ------
    FileNotFoundError
        There is no such folder, or no metadata in it.
    ConfigError
        The metadata lacks a column or names an unknown subset.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that Medley-Solos-DB was unpacked to.")
    table = next(iter(sorted(root.rglob(MEDLEY_METADATA))), None)
    if table is None:
        raise FileNotFoundError(f"{root}: there is no {MEDLEY_METADATA} in it; download it from Zenodo beside the audio.")
    # Clips are found by their UUID: releases differ in the rest of the name.
    present = {uuid: path for path in _audio_below(root) if (uuid := _uuid(path.name))}
    splits: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for row in _medley_rows(table):
        subset, uuid = row["subset"].strip().lower(), row["uuid4"].strip().lower()
        if not (split := name_splits([subset]).get(subset)):
            raise ConfigError(f"{table}: subset {subset!r} is not known; expected training, validation or test.")
        name = f"Medley-solos-DB_{row['subset'].strip()}-{row['instrument_id'].strip()}_{uuid}.wav"
        label = row["instrument"].strip().lower()
        clip = Clip(present.get(uuid, root / name), label, row["song_id"].strip() or None)
        splits[split].append(clip)
    return Collection(
        "Medley-Solos-DB",
        {split: tuple(clips) for split, clips in splits.items()},
        "Medley-Solos-DB (Lostanlen et al.), 3-second solo recordings of eight instruments, with its own split.",
    )


def _medley_rows(table: Path) -> list[dict[str, str]]:
    rows = read_rows(table)
    header = [cell.strip().lower() for cell in rows[0].cells] if rows else []
    wanted = {"subset", "instrument", "instrument_id", "song_id", "uuid4"}
    if missing := sorted(wanted - set(header)):
        raise ConfigError(f"{table}: the column {missing[0]!r} is missing; download the file from Zenodo again.")
    if uneven := next((row.line for row in rows if len(row.cells) != len(header)), None):
        raise ConfigError(f"{table}, row {uneven}: is damaged; download the file from Zenodo again.")
    return [dict(zip(header, row.cells, strict=True)) for row in rows[1:]]


def _uuid(name: str) -> str | None:
    match = _UUID.search(name)
    return match[0].lower() if match else None


def _audio_below(root: Path) -> Iterable[Path]:
    try:
        return find_audio_files([root])
    except FileNotFoundError:
        return []


def _files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in extensions and not path.name.startswith("."))
