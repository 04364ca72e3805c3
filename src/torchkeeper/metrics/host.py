"""What the machine is doing: processor, memory, disk and GPUs, as TorchServe's system metrics.

Reads only; who asks, and when, is decided elsewhere. GPUs are read through nvidia-ml-py where it is
installed: the front never imports torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import psutil

from torchkeeper.messages import Sample

logger = logging.getLogger(__name__)

#: nvidia-ml-py; without it there are no GPU metrics.
pynvml: Any = importlib.import_module("pynvml") if importlib.util.find_spec("pynvml") else None

#: What reading may raise, on a machine that keeps its figures from us.
UNREADABLE = (OSError, RuntimeError, ValueError, psutil.Error)

_MB = 1024 * 1024
_GB = 1024 * _MB
_HOST = (("Level", "Host"),)


class Host:
    """Reads the machine's figures.

    Args:
        gpus: NVML's numbers of the GPUs to read.
    """

    def __init__(self, gpus: tuple[int, ...] = ()) -> None:
        self._gpus = gpus if pynvml is not None else ()
        self._handles: dict[int, Any] | None = None

    def read(self) -> list[Sample]:
        """The figures now; a figure that cannot be read is left out, with a warning the first time.

        The processor's figure is the mean since the last call, and 0 at the first.
        """
        return [*_machine(), *self._read_gpus()]

    def _read_gpus(self) -> list[Sample]:
        if not self._gpus:
            return []
        try:
            if self._handles is None:
                pynvml.nvmlInit()
                self._handles = {number: pynvml.nvmlDeviceGetHandleByIndex(number) for number in self._gpus}
            return [sample for number, gpu in self._handles.items() for sample in _gpu(number, gpu)]
        except pynvml.NVMLError as error:
            logger.warning("GPU metrics cannot be read and are left out from now on: %s", error)
            self._gpus = ()
            return []


def visible_gpus(count: int, visible: str | None) -> tuple[int, ...]:
    """NVML's numbers of the GPUs that the server uses.

    Args:
        count: how many it uses.
        visible: the value of CUDA_VISIBLE_DEVICES, None when it is not set; names other than numbers (UUIDs)
            are taken for the first GPUs.
    """
    named = [text.strip() for text in (visible or "").split(",")]
    if visible is None or not all(text.isdigit() for text in named):
        return tuple(range(count))
    return tuple(int(text) for text in named)[:count]


def _machine() -> Iterator[Sample]:
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage("/")
    figures = (
        ("CPUUtilization", psutil.cpu_percent(), "Percent"),
        ("MemoryUsed", memory.used / _MB, "Megabytes"),
        ("MemoryAvailable", memory.available / _MB, "Megabytes"),
        ("MemoryUtilization", memory.percent, "Percent"),
        ("DiskUsage", disk.used / _GB, "Gigabytes"),
        ("DiskUtilization", disk.percent, "Percent"),
        ("DiskAvailable", disk.free / _GB, "Gigabytes"),
    )
    for name, value, unit in figures:
        yield Sample(name, float(value), unit, "GAUGE", _HOST)


def _gpu(number: int, handle: Any) -> Iterator[Sample]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    used = int(memory.used)
    labels = (*_HOST, ("DeviceId", str(number)))
    figures = (
        ("GPUMemoryUtilization", 100 * used / int(memory.total), "Percent"),
        ("GPUMemoryUsed", float(used // _MB), "Megabytes"),
        ("GPUUtilization", float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), "Percent"),
    )
    for name, value, unit in figures:
        yield Sample(name, value, unit, "GAUGE", labels)
