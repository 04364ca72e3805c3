"""The memory that processes hold, as lines."""

from __future__ import annotations

import io
import logging
import os

import pytest

from torchkeeper.handler.process_memory import check_process_mem_usage, get_cpu_usage


def test_a_line_per_process(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_process_mem_usage(io.StringIO(f"{os.getpid()},,{os.getppid()}\n1\n"))
    pids = [message.split(":")[0] for message in caplog.messages]
    assert pids == [str(os.getpid()), str(os.getppid())]


def test_a_process_that_is_gone_holds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert get_cpu_usage(os.getpid()) > 1 << 20
    assert get_cpu_usage(str(2**31 - 1)) == 0
    assert "Failed get process for pid: 2147483647" in caplog.text
