"""The machine's figures now: processor, memory and disk, under the names of TorchServe's system metrics."""

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
