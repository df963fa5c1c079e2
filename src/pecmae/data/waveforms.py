"""Labelled audio decoded once into a memory map, so that a random crop costs a memory copy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pecmae.audio.segments import load_audio
from pecmae.core.arrays import AppendableArray, _key
from pecmae.core.progress import progress_bar
from pecmae.data.collection import LabelledFile
from pecmae.errors import AudioError, ConfigError

_FULL_SCALE = 32767.0


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
        array = AppendableArray(Path(folder) / f"waveforms-{self.key}", (), "int16")
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
