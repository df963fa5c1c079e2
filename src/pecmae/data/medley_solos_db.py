"""Medley-Solos-DB in the layout it is distributed in, split as in the paper."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pecmae.audio.segments import find_audio_files
from pecmae.data.collection import Clip, Collection
from pecmae.data.split_names import name_splits
from pecmae.data.tables import read_rows
from pecmae.errors import ConfigError

MEDLEY_METADATA = "Medley-solos-DB_metadata.csv"
MEDLEY_LABELS = (
    *("clarinet", "distorted electric guitar", "female singer", "flute"),
    *("piano", "tenor saxophone", "trumpet", "violin"),
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


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
