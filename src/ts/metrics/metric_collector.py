"""What was a script of the server's; see torchkeeper.handler.process_memory."""

from torchkeeper.handler.process_memory import check_process_mem_usage as check_process_mem_usage
from ts.metrics import system_metrics as system_metrics

__all__ = ["check_process_mem_usage", "system_metrics"]
