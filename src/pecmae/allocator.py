"""The C library's memory, kept between one layer and the next."""

import ctypes
import os
import sys

# From glibc's malloc.h, and values in bytes. Above 32 MB, its limit, memory always comes from the system and goes back there.
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 256 << 20
M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 32 << 20
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Have glibc keep up to 256 MB of what is freed, for the whole process.

    The layers of a codec allocate and free some megabytes each. By default much of that goes back to the system at once, which
    has to fill it with zeros before the next layer gets it: a quarter of the time of embedding on a CPU. Elsewhere than on
    Linux, and where the environment sets an allocator's limits itself, nothing is done.

    Returns
    -------
    bool
        Whether the limits are set.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all([mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)])
