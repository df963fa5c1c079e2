"""How much is computed at a time: what suits the device, and half of it whenever memory runs out."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

# On a CPU a few rows keep all cores busy, and more of them gain nothing; a GPU wants many.
SEGMENTS_ON_CPU, SEGMENTS_ON_GPU = 8, 32
LATENTS_ON_CPU, LATENTS_ON_GPU = 16, 256


class BatchSize:
    """Rows that are worked on together; halved, for good, when that takes more memory than there is.

    Parameters
    ----------
    size : int
        To begin with, at least 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch_size={size} must be at least 1.")
        self.size = size

    @classmethod
    def of_segments(cls, device: "torch.device", wanted: int | None = None) -> "BatchSize":
        """For encoding: what is `wanted`, or what suits the device."""
        return cls((SEGMENTS_ON_CPU if device.type == "cpu" else SEGMENTS_ON_GPU) if wanted is None else wanted)

    @classmethod
    def of_latents(cls, device: "torch.device") -> "BatchSize":
        """For generating: what suits the device."""
        return cls(LATENTS_ON_CPU if device.type == "cpu" else LATENTS_ON_GPU)

    def run(self, work: Callable[[slice], Result], count: int) -> Iterator[Result]:
        """Yield `work(rows)` for consecutive slices that cover 0 … `count` - 1; its errors, when not even one row fits."""
        start = 0
        while start < count:
            rows = slice(start, min(start + self.size, count))
            try:
                result = work(rows)
            except (MemoryError, RuntimeError) as error:
                if rows.stop - rows.start == 1 or not is_out_of_memory(error):
                    raise
                self.size = (rows.stop - rows.start) // 2
                continue
            yield result
            start = rows.stop


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU, where torch has no class for it."""
    texts = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(text in str(error) for text in texts))
