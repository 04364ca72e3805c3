"""Which metrics are shown and logged in which mode, and how many labels are taken."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.registry import MAX_CELLS, Family, Registry
from torchkeeper.wire.messages import Declared


def family(name: str, *labels: str, kind: str = "counter") -> Family:
    return Family(Declared(name, kind, "s", labels), "text")


@pytest.mark.parametrize(
    ("mode", "shown", "logged"),
    [
        (
            "log",
            ["QueueTime", "ts_inference_requests_total", "torchkeeper_x"],
            ["QueueTime", "ts_inference_requests_total"],
        ),
        ("prometheus", ["QueueTime", "ts_inference_requests_total", "torchkeeper_x"], []),
        ("legacy", ["ts_inference_requests_total"], ["QueueTime"]),
        ("off", [], []),
    ],
)
def test_modes(mode: str, shown: list[str], logged: list[str]) -> None:
    registry = Registry(mode)
    registry.add(family("QueueTime"), logged=True)
    registry.add(family("ts_inference_requests_total"), logged=True)
    registry.add(family("torchkeeper_x"), logged=False)
    assert [found.name for found in registry.exposed()] == shown
    assert [found.name for found in registry.logged()] == logged


def test_a_name_is_taken_once() -> None:
    registry = Registry()
    first = registry.add(family("x"), logged=True)
    assert registry.add(family("x"), logged=True) is first
    assert registry.get("x") is first
    assert registry.get("y") is None


@pytest.mark.parametrize("wrong", [family("two words"), family("9x"), family("x", "a-b")])
def test_names_that_prometheus_forbids_stay_in_the_files(
    wrong: Family, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    registry.add(wrong, logged=True)
    assert registry.exposed() == []
    assert registry.logged() == [wrong]
    assert "is not shown on /metrics" in caplog.text


def test_sets_of_labels_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    found = family("x", "request")
    for number in range(MAX_CELLS):
        assert found.cell((str(number),)) is not None
    assert found.cell(("one more",)) is None
    assert found.cell(("0",)) is not None
    found.drop(("0",))
    assert found.cell(("one more",)) is not None
    assert caplog.text.count("no more are taken") == 2


def test_callbacks_run_before_every_look() -> None:
    registry = Registry()
    cell = registry.add(family("x", kind="gauge"), logged=False).cell(())
    assert cell is not None
    numbers = iter((1.0, 2.0))
    registry.refresh(lambda: cell.update(next(numbers)))
    assert list(registry.exposed()[0].samples()) == [("x", (), 1.0)]
    assert [(sample.name, sample.value) for sample in registry.collect()[0].samples] == [("x", 2.0)]
    assert registry.describe() == []
