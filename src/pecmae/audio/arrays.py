"""Arrays and tensors as audio: their shape, rate and scale are checked once, here."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pecmae.errors import AudioError

MAXIMUM_CHANNELS = 64  # more are samples taken for channels
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz

_BLOCK_SAMPLES = 32768


class ArrayAudio:
    """An array or tensor with the interface of an `AudioFile`.

    Parameters
    ----------
    source : np.ndarray or torch.Tensor [shape=(samples,) or (channels, samples)]
        Float samples within ±1, or integers, which are scaled by the full scale of their type. Never changed.
    sampling_rate : int
        In Hz.
    name : str, optional
        What messages call it.

    Raises
    ------
    AudioError
        When one of them is missing or means nothing.
    """

    damage: str | None = None

    def __init__(self, source: Any, sampling_rate: int | None, name: str | None = None) -> None:
        self.name = "array" if name is None else name
        array = as_samples(source, self.name)
        if sampling_rate is None:
            raise AudioError(
                f"{self.name}: came without a sampling rate (its shape is {array.shape}); pass sampling_rate= in Hz."
            )
        if array.ndim not in (1, 2):
            raise AudioError(f"{self.name}: audio must be (samples,) or (channels, samples), got the shape {array.shape}.")
        if array.ndim == 2 and not 0 < array.shape[0] <= MAXIMUM_CHANNELS:
            channels, hint = array.shape[0], " Transpose it." if array.shape[0] else ""
            raise AudioError(
                f"{self.name}: audio must be (channels, samples); {array.shape} would be {channels} channels.{hint}"
            )
        self.sampling_rate = checked_rate(sampling_rate, self.name)
        self._frames = array.T if array.ndim == 2 else array[:, None]  # (samples, channels)
        self.expected_frames = len(self._frames)
        self._offset, self._scale = _full_scale(array.dtype, self.name)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield copies of the samples (n, channels), float32."""
        for start in range(0, len(self._frames), _BLOCK_SAMPLES):
            with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, which is refused later
                block = self._frames[start : start + _BLOCK_SAMPLES].astype(np.float32)
            if self._scale != 1:
                block = (block - np.float32(self._offset)) / np.float32(self._scale)
            yield block

    def close(self) -> None:
        """Nothing to close."""


def as_samples(source: Any, name: str = "array") -> np.ndarray:
    """Return an array or a tensor as a NumPy array of real numbers; anything else is an `AudioError` about `name`."""
    if hasattr(source, "detach"):  # a torch tensor, without importing torch
        source = source.detach().cpu()
        source = source.float() if str(source.dtype) == "torch.bfloat16" else source
    if not hasattr(source, "__array__"):
        kinds = "a path, a binary file, a NumPy array or a tensor"
        raise AudioError(f"{name}: {type(source).__name__} is no audio; give {kinds}.")
    array = np.asarray(source)
    if array.dtype.kind not in "fiu":
        raise AudioError(f"{name}: audio must be real numbers, got an array of {array.dtype}.")
    return array


def checked_rate(rate: float, name: str) -> int:
    """Return a sampling rate as it is (Hz), or refuse it: an `AudioError` about `name`.

    A rate far from those of sound is a damaged header, kilohertz, or no sound; resampling from it would take minutes and memory
    by the gigabyte.
    """
    if isinstance(rate, bool) or not rate > 0 or (rate != int(rate) and not 1 <= rate < LOWEST_RATE):
        raise AudioError(f"{name}: the sampling rate must be a positive whole number of Hz, got {rate!r}.")
    if rate < LOWEST_RATE:
        hint = f"; {rate:g} kHz are {round(1000 * rate)} Hz" if LOWEST_RATE <= 1000 * rate <= HIGHEST_RATE else ""
        raise AudioError(f"{name}: a sampling rate of {rate:g} Hz is none of sound, which has {LOWEST_RATE} Hz and more{hint}.")
    if rate > HIGHEST_RATE:
        raise AudioError(f"{name}: a sampling rate of {rate:g} Hz is none of sound, which has {HIGHEST_RATE} Hz at most.")
    return int(rate)


def _full_scale(dtype: np.dtype, name: str) -> tuple[float, float]:
    """Offset and scale that bring samples of a type to ±1."""
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype == np.uint8:
        return 128.0, 128.0
    if dtype in (np.int8, np.int16, np.int32):
        return 0.0, -float(np.iinfo(dtype).min)
    raise AudioError(f"{name}: samples of {dtype} have no known full scale; convert them to int16 or to float within ±1.")
