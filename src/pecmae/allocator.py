"""The C library's memory, kept between one layer and the next."""

import ctypes
import os
import sys

# From glibc's malloc.h, and values in bytes; 32 MB are the most that it takes for the second.
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 256 << 20
M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 32 << 20
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


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
