"""TorchServe's text form, line by line."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.intake import help_text
from torchkeeper.metrics.registry import Family
from torchkeeper.metrics.text import CONTENT_TYPE, render
from torchkeeper.wire.messages import Declared


def family(name: str, kind: str, unit: str, *labels: str) -> Family:
    declared = Declared(name, kind, unit, labels)
    return Family(declared, help_text(declared))


@pytest.fixture
def families() -> list[Family]:
    requests = family("Requests2XX", "counter", "Count", "Level", "Hostname")
    plain = family("Plain", "gauge", "s")
    size = family("Size", "histogram", "ms", "ModelName")
    for found, values, number in (
        (requests, ("Host", "vm"), 24),
        (plain, (), 1.23e8),
        (size, ("m",), 0.3),
        (size, ("m",), 20),
    ):
        cell = found.cell(values)
        assert cell is not None
        cell.update(number)
    return [requests, plain, size, family("ts_inference_requests_total", "counter", "Count", "hostname")]


def test_every_line(families: list[Family]) -> None:
    bounds = ["0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0"]
    counts = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    buckets = "".join(
        f'Size_bucket{{ModelName="m",le="{bound}",}} {count}.0\n'
        for bound, count in zip((*bounds, "7.5", "10.0", "+Inf"), (*counts, 1, 1, 2), strict=True)
    )
    assert render(families) == (
        "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE Requests2XX counter\n"
        'Requests2XX{Level="Host",Hostname="vm",} 24.0\n'
        "# HELP Plain Torchserve prometheus gauge metric with unit: s\n"
        "# TYPE Plain gauge\n"
        "Plain 1.23E8\n"
        "# HELP Size Torchserve prometheus histogram metric with unit: ms\n"
        "# TYPE Size histogram\n"
        f"{buckets}"
        'Size_count{ModelName="m",} 2.0\n'
        'Size_sum{ModelName="m",} 20.3\n'
        "# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE ts_inference_requests_total counter\n"
    )


def test_the_filter_takes_metrics_and_single_samples(families: list[Family]) -> None:
    assert render(families, ["Plain"]).splitlines()[2:] == ["Plain 1.23E8"]
    assert render(families, ["Size_sum", "Plain"]).splitlines()[2:] == [
        "Plain 1.23E8",
        "# HELP Size Torchserve prometheus histogram metric with unit: ms",
        "# TYPE Size histogram",
        'Size_sum{ModelName="m",} 20.3',
    ]
    assert len(render(families, ["Size"]).splitlines()) == 2 + 15 + 2
    assert render(families, ["nothing"]) == ""


def test_label_values_are_escaped() -> None:
    found = family("x", "gauge", "s", "path")
    cell = found.cell(('C:\\new "\n',))
    assert cell is not None
    cell.update(1)
    assert render([found]).splitlines()[-1] == 'x{path="C:\\\\new \\"\\n",} 1.0'


def test_nothing_to_show_is_an_empty_page() -> None:
    assert render([]) == ""
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
