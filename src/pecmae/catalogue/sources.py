"""What an archive is made of: files, folders, patterns, lists of paths, and addresses that fsspec can open."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from pecmae.audio.segments import find_audio_files
from pecmae.catalogue.schema import SourceTrack
from pecmae.core.files import user_path
from pecmae.errors import ConfigError, PecmaeError

LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# What columns of a list are called, the most telling first.
PATH_COLUMNS = ("path", "uri", "url", "file", "filename", "file_name", "filepath", "file_path", "audio", "location")
ID_COLUMNS = ("id", "track_id", "trackid", "mbid", "isrc", "key")


def is_address(source: str) -> bool:
    """Whether a source is an address such as s3://bucket/song.mp3, not a path (nor a drive of Windows)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://", source) is not None


def find_tracks(sources: Sequence[str], on_error: Callable[[str, str], None]) -> Iterator[SourceTrack]:
    """All tracks of some sources, each id once.

    Parameters
    ----------
    sources : sequence of str
        Files, folders (searched recursively), patterns, addresses, and lists of paths or addresses as CSV, TSV, JSON Lines or
        Parquet, with a column of paths and perhaps one of ids. Without ids, a track's path is its id.
    on_error : callable
        Called with a source and what is wrong with it; the others go on.

    Yields
    ------
    SourceTrack
    """
    seen: set[str] = set()
    for source in sources:
        try:
            for track in _tracks(source):
                if track.id not in seen:
                    seen.add(track.id)
                    yield track
        except (PecmaeError, OSError, ValueError) as error:
            on_error(source, str(error))


def _tracks(source: str) -> Iterator[SourceTrack]:
    if is_address(source):
        yield SourceTrack(source, source)
        return
    path = user_path(source)
    if path.suffix.lower() in LISTS and path.is_file():
        for name, place in _listed(path):
            # Paths of a list are relative to it.
            yield SourceTrack(name, place) if is_address(place) else _local(path.parent / user_path(place), name)
        return
    for found in find_audio_files([path]):
        yield _local(found, str(found))


def _local(path: Path, name: str) -> SourceTrack:
    try:
        state = path.stat()
    except OSError:  # what is wrong with it is said when it is read
        return SourceTrack(name, str(path))
    return SourceTrack(name, str(path), state.st_size, state.st_mtime_ns)


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    """Id and path of each row of a list."""
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise ConfigError(f"{path}: the list is empty.")
    names = {str(name).strip().lower(): name for name in first}
    place = next((names[name] for name in PATH_COLUMNS if name in names), None)
    if place is None:
        raise ConfigError(
            f"{path}: no column is called {', '.join(PATH_COLUMNS[:4])} or the like; name the one with the paths so."
        )
    key = next((names[name] for name in ID_COLUMNS if name in names), None)
    for row in _chain(first, rows):
        if row.get(place):
            yield str(row[place] if key is None or row.get(key) in (None, "") else row[key]), str(row[place])


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ConfigError(f"{path}, line {number}: is no object.")
                    yield row
        else:
            yield from csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")


def opened(track: SourceTrack, stack: ExitStack) -> str | BinaryIO:
    """What decodes a track: its path, or a file object that the stack closes.

    Raises
    ------
    PecmaeError
        fsspec, or the driver of an address, is not installed.
    OSError
        It cannot be reached.
    """
    if not is_address(track.path):
        return track.path
    try:
        import fsspec
    except ImportError:
        raise PecmaeError(f"{track.path}: addresses need fsspec; install it with pip install 'pecmae[catalogue]'.") from None
    try:
        return stack.enter_context(fsspec.open(track.path, "rb"))
    except (ImportError, ValueError) as error:
        raise PecmaeError(f"{track.path}: cannot be opened ({error}).") from None
