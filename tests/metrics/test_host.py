"""The machine's figures, from this machine."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.host import Host, pynvml, visible_gpus


def test_this_machine() -> None:
    found = {sample.name: sample for sample in Host().read()}
    assert list(found) == [
        "CPUUtilization",
        "MemoryUsed",
        "MemoryAvailable",
        "MemoryUtilization",
        "DiskUsage",
        "DiskUtilization",
        "DiskAvailable",
    ]
    assert all(sample.value >= 0 and sample.dimensions == (("Level", "Host"),) for sample in found.values())
    for name in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        assert found[name].value <= 100
        assert found[name].unit == "Percent"
    assert found["MemoryUsed"].unit == "Megabytes"
    assert found["DiskUsage"].unit == "Gigabytes"


def test_a_gpu_that_is_not_there_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    host = Host((99,))
    assert len(host.read()) == len(host.read()) == 7
    assert caplog.text.count("GPU metrics cannot be read") == (0 if pynvml is None else 1)


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (0, None, ()),
        (2, None, (0, 1)),
        (2, "3,5", (3, 5)),
        (1, "3, 5", (3,)),
        (1, "GPU-8f1a", (0,)),
        (0, "", ()),
        (0, "-1", ()),
    ],
)
def test_which_gpus(count: int, visible: str | None, expected: tuple[int, ...]) -> None:
    assert visible_gpus(count, visible) == expected
