"""Lines that begin with [METRICS]: the grammar with which TorchServe reads them."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.line import parse_line
from torchkeeper.wire.messages import Sample

MODEL = (("ModelName", "m"), ("Level", "Model"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "[METRICS]PredictionTime.Milliseconds:0.05|#ModelName:m,Level:Model|#type:GAUGE"
            "|#hostname:vm,1700000000,5f1c-ab,77",
            Sample("PredictionTime", 0.05, "Milliseconds", "GAUGE", MODEL, "5f1c-ab,77"),
        ),
        (
            "[METRICS]Hits.Count:3|#ModelName:m,Level:Model|#type:COUNTER|#hostname:vm,1700000000",
            Sample("Hits", 3, "Count", "COUNTER", MODEL, ""),
        ),
        (
            "[METRICS]x.unit:-1e-05|#|#type:HISTOGRAM|#hostname:vm,1",
            Sample("x", -1e-5, "unit", "HISTOGRAM", ()),
        ),
        (
            "[METRICS]old one.ms:2|#Level:Model|#hostname:vm,1,a",
            Sample("old one", 2, "ms", "GAUGE", MODEL[1:], "a"),
        ),
        ("[METRICS]  x.unit:1|#a:b:c,d,e:f|#hostname:vm,1\r", Sample("x", 1, "unit", "GAUGE", (("e", "f"),))),
        ("[METRICS]x.unit:1e+16|#|#hostname:vm,1", Sample("x", 1e16, "unit", "GAUGE", ())),
    ],
)
def test_lines_that_are_numbers(line: str, expected: Sample) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "[METRICS]",
        "[METRICS]Failed to update metric with name:x and dimensions: a:b with value: -1: negative",
        "[METRICS]x.unit:nan|#a:b|#type:GAUGE|#hostname:vm,1",
        "[METRICS]x.unit:inf|#a:b|#type:GAUGE|#hostname:vm,1",
        "[METRICS]x.unit:1,000|#a:b|#type:GAUGE|#hostname:vm,1",
        "[METRICS]x.unit:9e999|#a:b|#type:GAUGE|#hostname:vm,1",
        "[METRICS]x.unit:1|#a:b|#type:TIMER|#hostname:vm,1",
        "[METRICS]x:1|#a:b|#hostname:vm,1",
        "[METRICS]x-y.unit:1|#a:b|#hostname:vm,1",
        "[METRICS]x.unit:1|#a:b|#hostname:vm",
        "[METRICS]x.unit:1|#a:b",
    ],
)
def test_lines_that_are_not(line: str) -> None:
    assert parse_line(line) is None
