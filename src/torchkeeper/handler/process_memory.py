"""The memory that processes hold.

Source of names and lines: TorchServe's `ts.metrics.process_memory_metric`, which its server runs as a script.
Must not import torch.
"""

from __future__ import annotations

import logging
from typing import TextIO

import psutil


def get_cpu_usage(pid: str | int) -> int:
    """Bytes of memory that a process holds; 0 where that cannot be read."""
    try:
        return int(psutil.Process(int(pid)).memory_info().rss)
    except psutil.Error as error:
        logging.error("Failed get process for pid: %s: %s", pid, error)
        return 0


def check_process_mem_usage(stdin: TextIO) -> None:
    """Logs `pid:bytes` for every process of a line of ids, separated by commas."""
    for pid in filter(None, stdin.readline().strip().split(",")):
        logging.info("%s:%d", pid, get_cpu_usage(pid))
