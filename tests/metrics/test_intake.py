"""Handlers' numbers: which metric they belong to, what is dropped, what goes to model_metrics.log."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.intake import MAX_DETECTED, Intake
from torchkeeper.metrics.line import parse_line
from torchkeeper.metrics.registry import Registry
from torchkeeper.metrics.text import render
from torchkeeper.wire.messages import Declared, Sample

DECLARED = (
    Declared("HandlerTime", "gauge", "ms", ("ModelName", "Level")),
    Declared("Hits", "counter", "count", ("Kind",)),
    Declared("Size", "histogram", "MB", ("ModelName", "Hostname")),
)
MODEL = (("ModelName", "m"), ("Level", "Model"))


def intake(mode: str = "log", *, detect: bool = False) -> tuple[Registry, Intake]:
    registry = Registry(mode)
    return registry, Intake(registry, DECLARED, "vm", detect=detect)


def lines(registry: Registry) -> list[str]:
    return [
        line for line in render(registry.exposed()).splitlines() if line[0] != "#" and "_bucket" not in line
    ]


def test_a_declared_metric_is_logged_with_its_own_unit() -> None:
    registry, found = intake()
    sample = Sample("HandlerTime", 1.5, "Milliseconds", "GAUGE", MODEL, "id")
    assert found.sample(sample) == Sample("HandlerTime", 1.5, "ms", "GAUGE", MODEL, "id")
    found.sample(Sample("Hits", 2, "count", "COUNTER", (("Kind", "a"),)))
    found.sample(Sample("Hits", 3, "count", "COUNTER", (("Kind", "a"),)))
    assert lines(registry) == [
        'HandlerTime{ModelName="m",Level="Model",Hostname="vm",} 1.5',
        'Hits{Kind="a",Hostname="vm",} 5.0',
    ]


def test_the_declared_type_counts_and_hostname_is_never_twice() -> None:
    registry, found = intake()
    found.sample(Sample("Size", 7, "Megabytes", "GAUGE", (("ModelName", "m"),)))
    assert lines(registry) == [
        'Size_count{ModelName="m",Hostname="vm",} 1.0',
        'Size_sum{ModelName="m",Hostname="vm",} 7.0',
    ]


def test_labels_are_matched_by_name_and_else_by_place() -> None:
    registry, found = intake()
    found.sample(Sample("HandlerTime", 1, "ms", "GAUGE", MODEL[::-1]))
    found.sample(Sample("HandlerTime", 2, "ms", "GAUGE", (("Model", "n"), ("Level", "Mine"))))
    assert lines(registry) == [
        'HandlerTime{ModelName="m",Level="Model",Hostname="vm",} 1.0',
        'HandlerTime{ModelName="n",Level="Mine",Hostname="vm",} 2.0',
    ]


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (Sample("Hits", 1, "count", "COUNTER", MODEL), "it has the dimensions"),
        (Sample("Hits", -1, "count", "COUNTER", (("Kind", "a"),)), "a counter cannot fall"),
    ],
)
def test_what_does_not_fit_is_an_error(sample: Sample, text: str, caplog: pytest.LogCaptureFixture) -> None:
    registry, found = intake()
    assert found.sample(sample) is None
    assert lines(registry) == []
    assert text in caplog.text


def test_undeclared_metrics_are_log_lines_unless_they_are_detected(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sample = Sample("New", 1, "Milliseconds", "HISTOGRAM", (("MethodName", "p"), *MODEL), "id")
    registry, found = intake()
    assert found.sample(sample) is None
    assert registry.get("New") is None
    (said,) = caplog.messages
    line = said.removeprefix("result=").removesuffix(", pattern=[METRICS]")
    assert line.startswith(
        "[METRICS]New.Milliseconds:1|#MethodName:p,ModelName:m,Level:Model|#type:HISTOGRAM"
    )
    assert parse_line(line) == sample
    assert found.line(line) is None
    assert len(caplog.messages) == 2
    silent = Intake(Registry("off"), (), "vm", detect=False, told=False)
    assert silent.sample(sample) is None
    assert len(caplog.messages) == 2
    registry, found = intake(detect=True)
    assert found.sample(sample) == sample
    assert lines(registry)[-1] == ('New_sum{MethodName="p",ModelName="m",Level="Model",Hostname="vm",} 1.0')
    assert "New Torchserve prometheus histogram metric with unit: Milliseconds" in render(registry.exposed())


def test_detection_is_bounded() -> None:
    registry, found = intake(detect=True)
    for number in range(MAX_DETECTED + 1):
        found.sample(Sample(f"x{number}", 1, "s", "GAUGE", ()))
    assert registry.get(f"x{MAX_DETECTED - 1}") is not None
    assert registry.get(f"x{MAX_DETECTED}") is None


@pytest.mark.parametrize(("mode", "logged", "shown"), [("prometheus", False, True), ("legacy", True, False)])
def test_modes(mode: str, logged: bool, shown: bool) -> None:
    registry, found = intake(mode)
    sample = Sample("HandlerTime", 1, "ms", "GAUGE", MODEL)
    assert (found.sample(sample) == sample) is logged
    assert bool(lines(registry)) is shown


def test_printed_lines(caplog: pytest.LogCaptureFixture) -> None:
    _, found = intake()
    line = "[METRICS]HandlerTime.Milliseconds:2|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,id"
    assert found.line(line) == Sample("HandlerTime", 2, "ms", "GAUGE", MODEL, "id")
    assert found.line("[METRICS]nonsense") is None
    assert 'Failed to parse metrics line: "[METRICS]nonsense".' in caplog.text


def test_a_handler_cannot_change_the_servers_own_metrics(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    Intake(registry, DECLARED[:1], "vm", detect=False)
    again = Intake(registry, DECLARED[:1], "vm", detect=False)
    assert again.sample(Sample("HandlerTime", 1, "ms", "GAUGE", MODEL)) is None
    assert "is the server's own" in caplog.text
