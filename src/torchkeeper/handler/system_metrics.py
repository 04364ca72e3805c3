"""The machine's figures as metrics that a handler collects itself.

Source of names: TorchServe's `ts.metrics.system_metrics`, which its server runs as a script. Must not import
torch.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Iterable
from typing import Any

from torchkeeper.handler.metric import Dimension, Metric
from torchkeeper.machine.figures import FIGURES

#: What was collected so far.
system_metrics: list[Metric] = []
#: The labels of it.
dimension = [Dimension("Level", "Host")]


def _collect(name: str) -> None:
    read, unit = FIGURES[name]
    system_metrics.append(Metric(name, read(), unit, dimension))


def cpu_utilization() -> None:
    """Collects the processor's share in use."""
    _collect("CPUUtilization")


def memory_used() -> None:
    """Collects the memory in use."""
    _collect("MemoryUsed")


def memory_available() -> None:
    """Collects the memory that is left."""
    _collect("MemoryAvailable")


def memory_utilization() -> None:
    """Collects the memory's share in use."""
    _collect("MemoryUtilization")


def disk_used() -> None:
    """Collects the disk's space in use."""
    _collect("DiskUsage")


def disk_utilization() -> None:
    """Collects the disk's share in use."""
    _collect("DiskUtilization")


def disk_available() -> None:
    """Collects the disk's space that is left."""
    _collect("DiskAvailable")


def gpu_utilization(num_of_gpu: int | None) -> None:
    """Collects nothing, and says so where there are GPUs: their figures are the server's."""
    if num_of_gpu:
        logging.warning("figures of GPUs are read by the server: /metrics and ts_metrics.log have them")


def collect_all(mod: types.ModuleType, num_of_gpu: int | None) -> None:
    """Calls every collecting function of a module, and logs all that was collected."""
    for function in _functions(mod):
        if function.__name__ == "gpu_utilization":
            function(num_of_gpu)
        elif function.__name__ not in ("collect_all", "log_msg"):
            function()
    for metric in system_metrics:
        logging.info("%s", metric)


def _functions(module: types.ModuleType) -> Iterable[Any]:
    members = (getattr(module, name) for name in dir(module) if not name.startswith("_"))
    return [one for one in members if isinstance(one, types.FunctionType)]
