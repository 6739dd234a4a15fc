"""Memory that stays with the process."""

from __future__ import annotations

import ctypes
import sys

# Names of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Lets the C library keep what torch frees on a CPU, for the next tensor of that size.

    By default glibc gives large blocks back to the kernel when they are freed, and the kernel hands them out again page
    by page: hundreds of page faults per image and step. For the whole process, so a decision of the program, not of a
    library; peak memory grows by a few per cent.

    Returns:
        Whether this C library could be told; others than glibc cannot.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
