"""The machine's figures; see torchkeeper.handler.system_metrics."""

from torchkeeper.handler.metric import Dimension as Dimension
from torchkeeper.handler.metric import Metric as Metric
from torchkeeper.handler.system_metrics import collect_all as collect_all
from torchkeeper.handler.system_metrics import cpu_utilization as cpu_utilization
from torchkeeper.handler.system_metrics import dimension as dimension
from torchkeeper.handler.system_metrics import disk_available as disk_available
from torchkeeper.handler.system_metrics import disk_used as disk_used
from torchkeeper.handler.system_metrics import disk_utilization as disk_utilization
from torchkeeper.handler.system_metrics import gpu_utilization as gpu_utilization
from torchkeeper.handler.system_metrics import memory_available as memory_available
from torchkeeper.handler.system_metrics import memory_used as memory_used
from torchkeeper.handler.system_metrics import memory_utilization as memory_utilization
from torchkeeper.handler.system_metrics import system_metrics as system_metrics

__all__ = [
    "Dimension",
    "Metric",
    "collect_all",
    "cpu_utilization",
    "dimension",
    "disk_available",
    "disk_used",
    "disk_utilization",
    "gpu_utilization",
    "memory_available",
    "memory_used",
    "memory_utilization",
    "system_metrics",
]
