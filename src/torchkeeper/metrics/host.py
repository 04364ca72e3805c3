"""What the machine is doing: processor, memory, disk and GPUs, as TorchServe's system metrics.

Reads only; who asks, and when, is decided elsewhere. GPUs are read through nvidia-ml-py where it is
installed: the front never imports torch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from torchkeeper.machine.figures import FIGURES
from torchkeeper.machine.hardware import visible_gpus, visible_names
from torchkeeper.wire.messages import Sample

logger = logging.getLogger(__name__)

#: nvidia-ml-py; without it there are no GPU metrics.
pynvml: Any = importlib.import_module("pynvml") if importlib.util.find_spec("pynvml") else None

#: What reading may raise, on a machine that keeps its figures from us.
UNREADABLE = (OSError, RuntimeError, ValueError, psutil.Error)

_MB = 1024 * 1024
#: The units of figures, as they are published.
_UNITS = {"percent": "Percent", "MB": "Megabytes", "GB": "Gigabytes"}
_HOST = (("Level", "Host"),)


class Host:
    """Reads the machine's figures.

    Args:
        gpus: how many GPUs the server uses.
        visible: the value of CUDA_VISIBLE_DEVICES, which says which ones; None when it is not set.
        nvml: reads GPUs; None where nvidia-ml-py is not installed.
    """

    def __init__(self, gpus: int = 0, visible: str | None = None, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._gpus = gpus if nvml is not None else 0
        self._visible = visible
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
                self._nvml.nvmlInit()
                self._handles = self._find()
            return [sample for number, gpu in self._handles.items() for sample in self._gpu(number, gpu)]
        except self._nvml.NVMLError as error:
            logger.warning("GPU metrics cannot be read and are left out from now on: %s", error)
            self._gpus = 0
            return []

    def _find(self) -> dict[int, Any]:
        """The GPUs that the server uses, by NVML's numbers: those that CUDA shows it."""
        nvml = self._nvml
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        names = visible_names(self._visible)
        if names and names[0].startswith("MIG-"):  # its card is measured: CUDA shows one instance only
            instance = nvml.nvmlDeviceGetHandleByUUID(names[0])
            card = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
            numbers: Sequence[int] = (uuids.index(_text(nvml.nvmlDeviceGetUUID(card))),)
        else:
            numbers = visible_gpus(self._visible, uuids)
        return {number: handles[number] for number in numbers[: self._gpus]}

    def _gpu(self, number: int, handle: Any) -> Iterator[Sample]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        used = int(memory.used)
        figures = [
            ("GPUMemoryUtilization", 100 * used / int(memory.total), "Percent"),
            ("GPUMemoryUsed", float(used // _MB), "Megabytes"),
        ]
        with contextlib.suppress(self._nvml.NVMLError):  # a card in instances has no such figure
            rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
            figures.append(("GPUUtilization", float(rates.gpu), "Percent"))
        labels = (*_HOST, ("DeviceId", str(number)))
        for name, value, unit in figures:
            yield Sample(name, value, unit, "GAUGE", labels)


def _text(value: str | bytes) -> str:
    """What NVML says: bytes, in older versions."""
    return value.decode() if isinstance(value, bytes) else value


def _machine() -> Iterator[Sample]:
    for name, (read, unit) in FIGURES.items():
        yield Sample(name, float(read()), _UNITS[unit], "GAUGE", _HOST)
