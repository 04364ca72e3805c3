"""Figures of now: the machine's, under the names of TorchServe's system metrics, and a process's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil

_MB = 1024 * 1024
_GB = 1024 * _MB

#: Figure -> how it is read, and its unit as handlers write it.
FIGURES: Mapping[str, tuple[Callable[[], float], str]] = {
    "CPUUtilization": (lambda: psutil.cpu_percent(), "percent"),  # the mean since the last call
    "MemoryUsed": (lambda: psutil.virtual_memory().used / _MB, "MB"),
    "MemoryAvailable": (lambda: psutil.virtual_memory().available / _MB, "MB"),
    "MemoryUtilization": (lambda: psutil.virtual_memory().percent, "percent"),
    "DiskUsage": (lambda: psutil.disk_usage("/").used / _GB, "GB"),
    "DiskUtilization": (lambda: psutil.disk_usage("/").percent, "percent"),
    "DiskAvailable": (lambda: psutil.disk_usage("/").free / _GB, "GB"),
}


def proportional_set(pid: int) -> int:
    """Bytes of a process's own memory, and its part of what it shares with others (PSS); 0: unknown."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:  # it is gone or another user's, or this is no Linux
        return 0
