"""The machine's figures, from this machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from torchkeeper.metrics.host import Host


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


class NvmlError(Exception):
    """What NVML raises."""


class Machine:
    """NVML on a machine with some cards, each as full as its number; instances lie on the last one."""

    NVMLError = NvmlError

    def __init__(self, *uuids: str, broken: bool = False) -> None:
        self._uuids = uuids
        self._broken = broken

    def nvmlInit(self) -> None:
        if self._broken:
            raise NvmlError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self._uuids)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> str:
        return self._uuids[number]

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:
        return handle.encode()

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        return self._uuids[-1]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(used=self._uuids.index(handle) << 20, total=100 << 20)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        if handle == self._uuids[-1]:
            raise NvmlError("Not Supported")
        return SimpleNamespace(gpu=50)


FOUR = Machine("GPU-aa11", "GPU-ab22", "GPU-b033", "GPU-c044")


@pytest.mark.parametrize(
    ("gpus", "visible", "measured"),
    [
        (0, None, []),
        (4, None, ["0", "1", "2", "3"]),
        (2, None, ["0", "1"]),
        (2, "2,3", ["2", "3"]),
        (1, "3,2", ["3"]),
        (2, "GPU-b0,GPU-aa", ["2", "0"]),
        (1, "MIG-5f3a", ["3"]),
    ],
)
def test_the_cards_that_the_server_uses_are_measured(
    gpus: int, visible: str | None, measured: list[str]
) -> None:
    found = [sample for sample in Host(gpus, visible, FOUR).read() if sample.name == "GPUMemoryUsed"]
    assert [dict(sample.dimensions)["DeviceId"] for sample in found] == measured
    assert [sample.value for sample in found] == [float(number) for number in measured]


def test_a_figure_that_a_card_does_not_have_is_left_out() -> None:
    of_last = [sample.name for sample in Host(1, "3", FOUR).read()[-3:]]
    assert of_last == ["DiskAvailable", "GPUMemoryUtilization", "GPUMemoryUsed"]


def test_gpus_that_cannot_be_read_are_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    host = Host(1, None, Machine("GPU-aa11", broken=True))
    assert len(host.read()) == len(host.read()) == 7
    assert caplog.text.count("GPU metrics cannot be read") == 1


def test_without_nvml_there_are_no_gpus() -> None:
    assert len(Host(1, None, None).read()) == 7
