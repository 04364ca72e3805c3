"""What this machine offers: cores and GPUs, found without importing torch."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_MAX = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def cpu_count(cgroup_max: Path = _CGROUP_MAX) -> int:
    """Cores this process may use: its affinity, and its cgroup's quota where one is set; at least 1.

    Source: the kernel's cgroup v2 documentation, file cpu.max ("quota period", or "max").
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = cgroup_max.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: the affinity stands
    return max(cores, 1)


def gpu_count(visible: str | None, limit: int | None = None, folder: Path = _NVIDIA_GPUS) -> int:
    """NVIDIA GPUs the server may use.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None when it is not set.
        limit: the setting number_of_gpu, None when it is not set.
        folder: where the driver lists its devices.
    """
    try:
        present = sum(1 for _ in folder.iterdir())
    except OSError:
        present = 0
    if visible is not None:
        present = min(present, sum(1 for device in visible.split(",") if device.strip() not in ("", "-1")))
    return present if limit is None else min(present, limit)
