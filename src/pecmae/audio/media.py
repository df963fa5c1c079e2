"""The sound of files that libsndfile does not know (AAC, WMA, mp4, mkv, …), through PyAV, which is an extra."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pecmae.audio.arrays import checked_rate
from pecmae.errors import AudioError

_SLACK_SECONDS = 0.3  # encoder delay, and durations that containers round


def has_media() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


class MediaFile:
    """The first sound of a media file; the same for its reader as `pecmae.audio.files.AudioFile`.

    Raises
    ------
    AudioError
        It holds no sound that can be decoded.
    """

    def __init__(self, path: Path, name: str) -> None:
        import av

        self.name = name
        self.keep: Any = None  # what has to live as long as this
        self.damage: str | None = None
        try:
            self._container = av.open(str(path), metadata_errors="ignore")
        except (av.error.FFmpegError, OSError, ValueError):
            raise AudioError(f"{name}: is damaged, or no audio that can be read; fetch it again or remove it.") from None
        if not self._container.streams.audio:
            self._container.close()
            raise AudioError(f"{name}: holds no sound.")
        self._stream = self._container.streams.audio[0]
        # Its type has no attributes of sound where no decoder was found.
        if self._stream.codec_context is None:
            self._container.close()
            raise AudioError(f"{name}: holds sound in a coding that cannot be read; convert it to WAV or FLAC.")
        self.sampling_rate = checked_rate(self._stream.rate or 0, name)
        self.expected_frames = self._expected_frames()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._container.close()
        self.keep = None

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples (n, channels), float32; packets that cannot be decoded are left out and counted."""
        import av

        read = damaged = 0
        resampler = av.AudioResampler(format="fltp", rate=self.sampling_rate)
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                decoded = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError:
                damaged += 1
                continue
            for block in self._resampled(resampler, decoded):
                read += len(block)
                yield block
        for block in self._resampled(resampler, [None]):
            read += len(block)
            yield block
        self.damage = self._damage(read, damaged)

    def _resampled(self, resampler: Any, frames: list[Any]) -> Iterator[np.ndarray]:
        for frame in frames:
            for part in resampler.resample(frame):
                if part.samples:
                    yield np.ascontiguousarray(part.to_ndarray().T, np.float32)  # (n, channels)

    def _expected_frames(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base) * self.sampling_rate
        if self._container.duration is not None:
            return self._container.duration / 1e6 * self.sampling_rate
        return None

    def _damage(self, read: int, damaged: int) -> str | None:
        if damaged:
            return f"holds {damaged} damaged packets, which were left out"
        rate = self.sampling_rate
        if self.expected_frames is not None and read < self.expected_frames - _SLACK_SECONDS * rate:
            return f"is cut off or damaged: {read / rate:.2f} s of {self.expected_frames / rate:.2f} s could be read"
        return None
