"""Models of sound other than the autoencoder, as what makes z of segments.

Shapes: B segments, N samples, D width.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pecmae.errors import ConfigError

# A rest that is shorter than this is left out.
SHORTEST_SECONDS = 0.1

EncoderFunction = Callable[[Tensor], Any]
"""Waveforms [shape=(B, N)], float32 on the CPU, to embeddings [shape=(B, D)], a tensor or an array."""


class CallableEncoder:
    """A function from sound to embeddings, with what it needs to know of a track.

    Parameters
    ----------
    function : callable, optional
        From waveforms [shape=(B, N)], float32, mono, on the CPU, to embeddings [shape=(B, D)], a tensor or an array. It may
        move them to a device of its own. Without one, nothing can be encoded.
    sampling_rate : int
        That it listens at, in Hz.
    segment_seconds : float
        Length of the segments that tracks are cut into; the last one is padded with zeros.
    name : str
        What people should read, such as a Hub id.
    """

    def __init__(self, function: EncoderFunction | None, *, sampling_rate: int, segment_seconds: float, name: str = "") -> None:
        if not (sampling_rate > 0 and segment_seconds > 0 and round(sampling_rate * segment_seconds)):
            raise ConfigError(
                f"An encoder of segments of {segment_seconds} s at {sampling_rate} Hz is impossible; give numbers above 0."
            )
        self.function, self.name = function, name
        self.sampling_rate, self.segment_seconds = int(sampling_rate), float(segment_seconds)

    @classmethod
    def of(cls, encoder: Any, *, sampling_rate: int | None = None, segment_seconds: float | None = None) -> Self:
        """An encoder of a callable, which may say its `sampling_rate` and `segment_seconds` itself.

        Raises
        ------
        ConfigError
            It is no callable, or neither it nor the caller says these.
        """
        if isinstance(encoder, cls):
            return encoder
        if not callable(encoder):
            raise ConfigError(
                f"encoder={encoder!r} cannot be called; give a function from waveforms (B, N) to embeddings (B, D)."
            )
        rate = sampling_rate if sampling_rate is not None else getattr(encoder, "sampling_rate", None)
        seconds = segment_seconds if segment_seconds is not None else getattr(encoder, "segment_seconds", None)
        if rate is None or seconds is None:
            what = "sampling_rate" if rate is None else "segment_seconds"
            raise ConfigError(f"The encoder does not say its {what}; give {what}=…, or make it an attribute.")
        name = getattr(encoder, "name", "") or getattr(encoder, "__name__", "") or type(encoder).__name__
        return cls(encoder, sampling_rate=int(rate), segment_seconds=float(seconds), name=str(name))

    @property
    def segment_samples(self) -> int:
        """Samples of a segment, N."""
        return round(self.sampling_rate * self.segment_seconds)

    @property
    def minimum_samples(self) -> int:
        """The fewest real samples that a segment may have, unless it is the only one."""
        return min(max(1, round(SHORTEST_SECONDS * self.sampling_rate)), self.segment_samples)

    @property
    def device(self) -> torch.device:
        """Where segments are handed over; the function may move them."""
        return torch.device("cpu")

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:  # zeros are all it is told of the rest
        """z [shape=(B, D)], float32, of segments [shape=(B, N)].

        Raises
        ------
        ConfigError
            There is no function, or what it returns is no embedding of each segment.
        """
        if self.function is None:
            of = f" of {self.name}" if self.name else ""
            raise ConfigError(f"This model takes embeddings{of} and cannot make them of sound; load it with encoder=….")
        with torch.no_grad():
            found = self.function(wav)
        z = torch.as_tensor(np.asarray(found)) if not isinstance(found, Tensor) else found.detach().cpu()
        if z.ndim != 2 or len(z) != len(wav):
            raise ConfigError(
                f"The encoder {self.name or 'given'} returns the shape {tuple(z.shape)} for {len(wav)} segments; it should be "
                f"one row a segment: ({len(wav)}, width). Average over time first."
            )
        return z.float()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "sampling_rate": self.sampling_rate, "segment_seconds": self.segment_seconds}
