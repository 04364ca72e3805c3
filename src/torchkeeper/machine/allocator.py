"""How much memory that it has freed a process keeps for what it allocates next.

glibc gives the top of the heap back to the system as soon as it is twice as large as the largest array that
was freed. A model whose layers make arrays of megabytes then gets the same pages anew in every batch, each
with a fault and 4 KiB of zeros. Source: mallopt(3), the parameters M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

#: mallopt's numbers for the two parameters, in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Bytes from which on an array has pages of its own, which go back when it is freed: glibc's upper bound.
ON_THE_HEAP = 32 << 20
#: Bytes of freed memory that stay at the top of the heap.
KEPT = 128 << 20
#: Variables by which users settle the same.
_SETTLED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Lets this process, and its forks, keep up to KEPT bytes of freed memory; whether it does now.

    Not where the environment settles it, and not where the C library knows no such thing (musl, macOS).
    """
    if any(name in environ for name in _SETTLED) or "glibc.malloc" in environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, ON_THE_HEAP)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))
