"""Labelled folders of audio, decoded once: a file list, a waveform store, and caches of what frozen parts compute.

Stores are memory maps on disk. They are filled in order, a file at a time, and a filling that was cut off continues.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm.auto import tqdm

from pecmae.audio import load_audio
from pecmae.errors import AudioError, ConfigError

Item = TypeVar("Item")

_FULL_SCALE = 32767.0


@dataclass(frozen=True)
class LabelledFile:
    """An audio file and its class."""

    path: Path
    label: str


class GrowingArray:
    """A two-level array on disk that is filled item by item and survives being cut off.

    Item i is a run of rows of one shape; an index line is written after its rows are, so rows without a line are discarded.

    Parameters
    ----------
    folder : Path
        Made when missing.
    row_shape : tuple of int
        Shape of a row; () for samples.
    dtype : str
        NumPy dtype of the file.
    """

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.row_shape, self.dtype = folder, row_shape, np.dtype(dtype)
        self.row_bytes = self.dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
        folder.mkdir(parents=True, exist_ok=True)
        self.index_path, self.data_path = folder / "index.jsonl", folder / "data.bin"
        text = self.index_path.read_text() if self.index_path.exists() else ""
        self.counts = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def fill(self, items: Iterator[np.ndarray]) -> None:
        """Append the items that are missing; `items` starts at the first missing one."""
        with self.data_path.open("ab") as data, self.index_path.open("w") as index:
            data.truncate(sum(self.counts) * self.row_bytes)
            index.writelines(f"{count}\n" for count in self.counts)
            for item in items:
                data.write(np.ascontiguousarray(item, dtype=self.dtype).tobytes())
                data.flush()
                index.write(f"{len(item)}\n")
                index.flush()
                self.counts.append(len(item))

    @property
    def starts(self) -> np.ndarray:
        """First row of every item, and the number of rows (N + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    def rows(self) -> np.ndarray:
        """All rows as a read-only memory map (rows, *row_shape)."""
        return np.memmap(self.data_path, self.dtype, "r", shape=(sum(self.counts), *self.row_shape))


class WaveformStore:
    """All files of a list as 16-bit mono samples at one rate, so that a random crop costs a memory copy.

    Parameters
    ----------
    files : sequence of LabelledFile
        Files that cannot be read are errors.
    folder : path
        Cache folder; the store lives in a sub-folder named after the list, the sizes and the modification times.
    sampling_rate : int
        In Hz.
    progress : bool
        Show a progress bar on standard error while decoding.

    Raises
    ------
    AudioError
        When a file cannot be decoded.
    ConfigError
        When the list is empty.
    """

    def __init__(
        self, files: Sequence[LabelledFile], folder: str | os.PathLike[str], sampling_rate: int, *, progress: bool = False
    ) -> None:
        if not files:
            raise ConfigError("The list of audio files is empty; a waveform store needs at least one file.")
        self.files, self.sampling_rate = list(files), sampling_rate
        self.key = files_key(self.files, sampling_rate)
        array = GrowingArray(Path(folder) / f"waveforms-{self.key}", (), "int16")
        missing = self.files[len(array.counts) :]
        if missing:
            array.fill(self._decode(f.path) for f in progress_bar(missing, "decoding", progress))
        self.samples, self.starts = array.rows(), array.starts
        if (np.diff(self.starts) == 0).any():
            empty = self.files[int(np.argmin(np.diff(self.starts)))].path
            raise AudioError(f"{empty}: no samples; remove it from the list.")

    def _decode(self, path: Path) -> np.ndarray:
        wav = load_audio(path, target_rate=self.sampling_rate)
        return np.round(np.clip(wav, -1, 1) * _FULL_SCALE).astype(np.int16)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def seconds(self) -> float:
        """Duration of all files together."""
        return len(self.samples) / self.sampling_rate

    def crop(self, item: int, offset: int, length: int) -> np.ndarray:
        """`length` samples of one file from `offset` on, float32, zero-padded at the end."""
        start, end = self.starts[item] + offset, self.starts[item + 1]
        wav = np.zeros(length, np.float32)
        part = self.samples[start : min(start + length, end)]
        wav[: len(part)] = part / np.float32(_FULL_SCALE)
        return wav

    def random_crops(self, draws: np.random.Generator, count: int, length: int, rows: slice = slice(None)) -> np.ndarray:
        """Crops of files drawn uniformly, at uniform offsets (rows of `count`, length).

        Every process draws all `count` places and reads its own `rows` of them.
        """
        items = draws.integers(len(self), size=count)
        room = np.maximum(np.diff(self.starts)[items] - length, 0)
        offsets = np.floor(draws.random(count) * (room + 1)).astype(np.int64)
        return np.stack([self.crop(i, o, length) for i, o in zip(items[rows], offsets[rows], strict=True)])


def files_key(files: Sequence[LabelledFile], *more: object) -> str:
    """A hash of a list of files, their sizes and modification times, and of further JSON-able facts."""
    return _key([*more, *([str(f.path), f.path.stat().st_size, f.path.stat().st_mtime_ns] for f in files)])


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def progress_bar(items: Sequence[Item], text: str, shown: bool) -> Iterable[Item]:
    """The items, with a progress bar on standard error if `shown`."""
    return tqdm(items, text, disable=not shown, mininterval=2)


@dataclass(frozen=True)
class SegmentPlace:
    """Where a segment lies: item of the store, first sample, and how many real samples it has."""

    item: int
    offset: int
    length: int


def segment_places(store: WaveformStore, segment_samples: int, stride_samples: int) -> list[SegmentPlace]:
    """Overlapping whole segments of every file of a store; a file shorter than a segment makes one, to be padded."""
    places = []
    for item, duration in enumerate(np.diff(store.starts)):
        for offset in range(0, max(0, int(duration) - segment_samples) + 1, stride_samples):
            places.append(SegmentPlace(item, offset, int(min(segment_samples, duration - offset))))
    return places


def cached_rows(
    folder: str | os.PathLike[str],
    name: str,
    key: object,
    count: int,
    compute: Callable[[int, int], np.ndarray],
    *,
    row_shape: tuple[int, ...],
    dtype: str,
    batch_size: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """Rows that a frozen model computes, once, into a memory map.

    Parameters
    ----------
    folder, name : path, str
        The cache lives in `folder/name-KEY`.
    key : JSON-able
        All that the rows depend on: the data's key, a hash of the weights, segment settings.
    count : int
        Rows in all.
    compute : callable
        `compute(start, stop)` → rows (stop − start, *row_shape).
    row_shape, dtype : tuple, str
        Of the rows on disk.
    batch_size : int
        Rows a call.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    np.ndarray
        (count, *row_shape), a read-only memory map.
    """
    array = GrowingArray(Path(folder) / f"{name}-{_key([key, count, row_shape, dtype, batch_size])}", row_shape, dtype)
    starts = range(sum(array.counts), count, batch_size)
    if len(starts):
        array.fill(compute(start, min(start + batch_size, count)) for start in progress_bar(starts, name, progress))
    return array.rows()
