"""The machine's figures, collected by a handler."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator

import pytest

import ts.metrics.system_metrics
from torchkeeper.handler import system_metrics as collected


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    collected.system_metrics.clear()
    yield
    collected.system_metrics.clear()


def test_all_are_collected_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        collected.collect_all(ts.metrics.system_metrics, 0)
    names = {one.name for one in ts.metrics.system_metrics.system_metrics}
    assert names == {
        *("CPUUtilization", "MemoryUsed", "MemoryAvailable", "MemoryUtilization"),
        *("DiskUsage", "DiskUtilization", "DiskAvailable"),
    }
    assert "MemoryUsed.Megabytes:" in caplog.text
    assert "|#Level:Host|#hostname:" in caplog.text


def test_functions_of_another_module_are_called(caplog: pytest.LogCaptureFixture) -> None:
    module = types.ModuleType("mine")
    called = []

    def own() -> None:
        called.append("own")

    module.own = own  # type: ignore[attr-defined]
    module.gpu_utilization = collected.gpu_utilization  # type: ignore[attr-defined]
    collected.collect_all(module, 1)
    assert called == ["own"]
    assert "figures of GPUs are read by the server" in caplog.text
