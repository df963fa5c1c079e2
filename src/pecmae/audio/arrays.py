"""Arrays and tensors as audio: their shape, rate and scale are checked once, here."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pecmae.errors import AudioError

MAXIMUM_CHANNELS = 64  # more are samples taken for channels

_BLOCK_SAMPLES = 32768


class ArrayAudio:
    """An array or tensor with the interface of an `AudioFile`.

    Parameters
    ----------
    source : np.ndarray or torch.Tensor [shape=(samples,) or (channels, samples)]
        Float samples within ±1, or integers, which are scaled by the full scale of their type. Never changed.
    sampling_rate : int
        In Hz.

    Raises
    ------
    AudioError
        When one of them is missing or means nothing.
    """

    name = "array"
    damage: str | None = None

    def __init__(self, source: Any, sampling_rate: int | None) -> None:
        array = as_samples(source)
        if sampling_rate is None:
            raise AudioError(f"An array of shape {array.shape} came without a sampling rate; pass sampling_rate= in Hz.")
        if isinstance(sampling_rate, bool) or not sampling_rate > 0 or sampling_rate != int(sampling_rate):
            raise AudioError(f"sampling_rate must be a positive whole number of Hz, got {sampling_rate!r}.")
        if array.ndim not in (1, 2):
            raise AudioError(f"Audio must be (samples,) or (channels, samples), got the shape {array.shape}.")
        if array.ndim == 2 and not 0 < array.shape[0] <= MAXIMUM_CHANNELS:
            hint = " Transpose it." if array.shape[0] else ""
            raise AudioError(f"Audio must be (channels, samples); {array.shape} would be {array.shape[0]} channels.{hint}")
        self.sampling_rate = int(sampling_rate)
        self._frames = array.T if array.ndim == 2 else array[:, None]  # (samples, channels)
        self.expected_frames = len(self._frames)
        self._offset, self._scale = _full_scale(array.dtype)

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


def as_samples(source: Any) -> np.ndarray:
    """Return an array or a tensor as a NumPy array of real numbers; anything else is an `AudioError`."""
    if hasattr(source, "detach"):  # a torch tensor, without importing torch
        source = source.detach().cpu()
        source = source.float() if str(source.dtype) == "torch.bfloat16" else source
    if not hasattr(source, "__array__"):
        raise AudioError(f"Expected a path, a NumPy array or a tensor, got {type(source).__name__}.")
    array = np.asarray(source)
    if array.dtype.kind not in "fiu":
        raise AudioError(f"Audio must be real numbers, got an array of {array.dtype}.")
    return array


def _full_scale(dtype: np.dtype) -> tuple[float, float]:
    """Offset and scale that bring samples of a type to ±1."""
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype == np.uint8:
        return 128.0, 128.0
    if dtype in (np.int8, np.int16, np.int32):
        return 0.0, -float(np.iinfo(dtype).min)
    raise AudioError(f"Samples of {dtype} have no known full scale; convert them to int16 or to float within ±1.")
