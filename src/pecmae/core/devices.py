"""Where a model runs and in which precision, and what the allocator keeps."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from pecmae.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Below this width of the model calls cost more than arithmetic, and half the bits gain nothing.
NARROW = 64


# From glibc's malloc.h, and values in bytes; 32 MB are the most that it takes for the second.
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 256 << 20
M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 32 << 20
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for; by default a GPU if there is one.

    Raises
    ------
    ConfigError
        There is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={str(device)!r} cannot be used here; choose cpu, or cuda where a GPU is.") from error
    return picked


def pick_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The floating-point type asked for, by name or as it is: float32 (the default), bfloat16 or float16.

    Raises
    ------
    ConfigError
        It is none of them.
    """
    if dtype is None:
        return torch.float32
    picked = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if picked is None or picked not in DTYPES.values():
        choices = ", ".join(DTYPES)
        raise ConfigError(f"dtype={str(dtype)!r} is not known; choose one of {choices}, or auto where a model is loaded.")
    return picked


def pick_loading_dtype(dtype: str | torch.dtype | None, device: torch.device, width: int) -> torch.dtype:
    """`pick_dtype` that knows "auto": bfloat16 where `device` computes with it natively and a model this wide gains by it."""
    if dtype != "auto":
        return pick_dtype(dtype)
    return torch.bfloat16 if width >= NARROW and has_native_bfloat16(device) else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies matrices of bfloat16 in hardware; where it emulates them they are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Of x86: Zen 4, Cooper Lake and Sapphire Rapids, and what came after them. torch has no public name for these questions.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


@contextmanager
def answering(device: torch.device) -> Iterator[None]:
    """Compute what a model answers: without gradients, in the model's own precision whatever `torch.autocast` is around."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


@cache
def survive_forks() -> None:
    """Have processes that are forked from this one compute on one thread each.

    A fork copies no threads. With more than one, the first layer in a forked worker would wait for ever for the threads that
    the parent had.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def keep_freed_memory() -> bool:
    """Have glibc give freed memory back to the system only when 256 MB of it lie together, for the whole process.

    The layers of a codec allocate and free some megabytes each. By default much of that goes back at once, and the system has
    to fill it with zeros before the next layer gets it. Elsewhere than on Linux, and where the environment sets the
    allocator's limits itself, nothing is done.

    Returns
    -------
    bool
        Whether the limits are set.
    """
    chosen = any(name in os.environ for name in SETTINGS) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all([mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)])
