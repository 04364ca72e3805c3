"""Memory of processes; see torchkeeper.handler.process_memory."""

from torchkeeper.handler.process_memory import check_process_mem_usage as check_process_mem_usage
from torchkeeper.handler.process_memory import get_cpu_usage as get_cpu_usage

__all__ = ["check_process_mem_usage", "get_cpu_usage"]
