"""What this machine offers: cores and GPUs, found without importing torch."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

_CGROUP_MAX = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
_UNIFIED_MEMORY = Path("/dev/nvidia-uvm")
#: Seconds that a driver's module may take to load.
_MODULE = 30.0
#: How names of cards and of parts of them (Multi-Instance GPU) begin.
_CARD, _INSTANCE = "GPU-", "MIG-"


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
    uuids = _uuids(folder)
    names = visible_names(visible)
    if names and names[0].startswith(_INSTANCE):
        count = min(1, len(uuids))  # CUDA shows a process one instance only
    elif names and names[0].startswith(_CARD) and not all(uuids):
        count = min(len(names), len(uuids))
    else:
        count = len(visible_gpus(visible, uuids))
    return count if limit is None else min(count, limit)


def make_gpu_devices(device: Path = _UNIFIED_MEMORY, program: str = "nvidia-modprobe") -> None:
    """Has the driver make the device that CUDA opens first, where it is not there yet.

    CUDA calls this setuid program itself, which then does nothing in workers that get no new privileges.
    Source: its manual, `-u` and `-c`.
    """
    found = shutil.which(program)
    if found is None or device.exists():
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        silent = subprocess.DEVNULL
        subprocess.run((found, "-u", "-c=0"), stdin=silent, stdout=silent, stderr=silent, timeout=_MODULE)


def visible_gpus(visible: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """The machine's numbers of the GPUs that CUDA shows a process, in its order.

    Source: torch.cuda's reading of the variable, which is CUDA's: a list ends at the first entry that is no
    GPU of this machine, and one that names a GPU twice is empty.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None when it is not set.
        uuids: of all GPUs of the machine, by their numbers.
    """
    names = visible_names(visible)
    if names is None:
        return tuple(range(len(uuids)))
    found: list[int] = []
    for name in names:
        number = _number(name, uuids)
        if number is None:
            break
        if number in found:
            return ()
        found.append(number)
    return tuple(found)


def visible_names(visible: str | None) -> tuple[str, ...] | None:
    """The entries of CUDA_VISIBLE_DEVICES that are of one kind with its first: numbers, cards or instances.

    None when it is not set: then all GPUs are visible.
    """
    if visible is None:
        return None
    names = [name.strip() for name in visible.split(",")]
    kind = next((kind for kind in (_CARD, _INSTANCE) if names[0].startswith(kind)), "")
    fits = re.compile(re.escape(kind) + ".+" if kind else r"\+?\d+")
    return tuple(itertools.takewhile(fits.match, names))


def _number(name: str, uuids: Sequence[str]) -> int | None:
    """The number of the GPU that an entry names: by its number, or by as much of its UUID as is unique."""
    if name.startswith(_CARD):
        found = [number for number, uuid in enumerate(uuids) if uuid.startswith(name)]
        return found[0] if len(found) == 1 else None
    digits = re.match(r"\+?\d+", name)  # CUDA reads as C's strtoul does: what follows the digits is left out
    number = int(digits[0]) if digits else len(uuids)
    return number if number < len(uuids) else None


def _uuids(folder: Path) -> list[str]:
    """The UUIDs of the driver's GPUs in the order of their places on the bus; "" for one that is not told."""
    try:
        places = sorted(folder.iterdir())
    except OSError:
        return []
    found = []
    for place in places:
        try:
            told = re.search(
                r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s*$", (place / "information").read_text(), re.M
            )
        except (OSError, UnicodeDecodeError):
            told = None
        found.append(told[1] if told else "")
    return found


def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The names that Linux gives to what the processor can do; None where nobody says."""
    try:
        text = cpuinfo.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    return frozenset(found[1].split()) if found else None


#: What a processor can do that decides which way of computing is the fastest, in Linux's names.
_OF_SPEED = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_ne_convert"),
    *("amx_tile", "amx_bf16", "amx_int8", "amx_fp16"),
    *("asimd", "asimddp", "fphp", "bf16", "i8mm", "sve"),
)


def features_of_speed(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Those features of the processor that decide how fast models run on it; none where nobody says."""
    found = processor_features(cpuinfo) or frozenset()
    return tuple(name for name in _OF_SPEED if name in found)


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name that the processor gives itself; empty where nobody says."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M)
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1].strip() if found else ""


def another_machine(tuned_for: Mapping[str, Any], cores: int, features: Collection[str]) -> str | None:
    """How a machine is another one than settings were found for, in a sentence; None: it is not.

    Args:
        tuned_for: `cores`, and `features` where they are known; or nothing.
        cores: the machine's.
        features: of its processor, those that decide about speed.
    """
    if not tuned_for:
        return None
    there, here = tuned_for["cores"], set(features)
    told = set(tuned_for.get("features", here))
    ways = [
        *([f"{there} cores, not {cores}"] if there != cores else []),
        *([f"a processor with {', '.join(sorted(told - here))}"] if told - here else []),
        *([f"a processor without {', '.join(sorted(here - told))}"] if here - told else []),
    ]
    return f"its settings were found for {', and '.join(ways)}" if ways else None
