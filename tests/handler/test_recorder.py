"""context.metrics: every way to record a number, and the samples that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.handler.metric import Dimension, MetricTypes
from torchkeeper.handler.metric_errors import (
    MetricsCacheKeyError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.messages import Declared, Sample

MODEL = (("ModelName", "m"), ("Level", "Model"))


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder("m")
    recorder.set_request_ids({0: "a", 1: "b"})
    return recorder


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], Sample]] = [
    ("add_metric", ("x", 2, "apples"), {}, Sample("x", 2, "apples", "COUNTER", MODEL, "a,b")),
    (
        "add_metric",
        ("x", 2.5, "", 1, [], MetricTypes.HISTOGRAM),
        {},
        Sample("x", 2.5, "unit", "HISTOGRAM", MODEL, "b"),
    ),
    ("add_counter", ("x", 1), {"idx": 0}, Sample("x", 1, "Count", "COUNTER", MODEL, "a")),
    ("add_time", ("x", 1.5, None, "ms"), {}, Sample("x", 1.5, "Milliseconds", "GAUGE", MODEL, "a,b")),
    ("add_time", ("x", 1), {"unit": "s"}, Sample("x", 1, "Seconds", "GAUGE", MODEL, "a,b")),
    ("add_size", ("x", 1), {}, Sample("x", 1, "Megabytes", "GAUGE", MODEL, "a,b")),
    ("add_size", ("x", 1), {"unit": "B"}, Sample("x", 1, "Bytes", "GAUGE", MODEL, "a,b")),
    ("add_percent", ("x", 50), {"idx": 9}, Sample("x", 50, "Percent", "GAUGE", MODEL, "a,b")),
    ("add_error", ("x", 1), {}, Sample("x", 1, "unit", "COUNTER", (("Level", "Error"),), "")),
]


@pytest.mark.parametrize(("method", "args", "more", "expected"), CALLS)
def test_what_is_recorded(
    recorder: Recorder, method: str, args: tuple[Any, ...], more: dict[str, Any], expected: Sample
) -> None:
    getattr(recorder, method)(*args, **more)
    assert recorder.drain() == [expected]
    assert recorder.drain() == []


@pytest.mark.parametrize(
    ("dimensions", "labels"),
    [
        ([], (("Level", "Error"),)),
        (None, (("Level", "Error"),)),
        ([Dimension("Kind", "k")], (("Kind", "k"), ("Level", "Error"))),
        ([Dimension("Level", "Mine")], (("Level", "Mine"),)),
    ],
)
def test_outside_a_batch_a_number_belongs_to_no_model(dimensions: Any, labels: tuple[Any, ...]) -> None:
    recorder = Recorder("m")
    recorder.add_counter("x", 1, dimensions=dimensions)
    assert recorder.drain() == [Sample("x", 1, "Count", "COUNTER", labels, "")]


def test_the_callers_dimensions_come_first_and_stay_the_callers(recorder: Recorder) -> None:
    dimensions = [Dimension("Level", "Mine"), Dimension("Kind", 3)]
    recorder.add_counter("x", 1, dimensions=dimensions)
    (sample,) = recorder.drain()
    assert sample.dimensions == (("Level", "Mine"), ("Kind", "3"), ("ModelName", "m"))
    assert len(dimensions) == 2


@pytest.mark.parametrize(("ids", "expected"), [(None, ""), ("a,b", "a,b"), ({}, "")])
def test_request_ids_may_come_joined(recorder: Recorder, ids: Any, expected: str) -> None:
    recorder.set_request_ids(ids)
    recorder.add_counter("x", 1, idx=0)
    assert [sample.request_id for sample in recorder.drain()] == [expected]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda r: r.add_time("x", 1, unit="h"), MetricsCacheValueError, r"one of \['ms', 's'\]"),
        (lambda r: r.add_size("x", 1, unit="TB"), ValueError, "The unit for size based metric"),
        (lambda r: r.get_metric("x"), MetricsCacheKeyError, "doesn't exist"),
        (lambda r: r.get_metric(3), MetricsCacheTypeError, "`metric_name` must be a str"),
        (lambda r: r.get_metric("x", "counter"), MetricsCacheTypeError, "MetricTypes enum"),
        (lambda r: r.add_metric_to_cache("x", None), MetricsCacheTypeError, "`unit` must be a str"),
        (lambda r: r.add_metric_to_cache("x", "", "abc"), MetricsCacheTypeError, "should be a list"),
    ],
)
def test_wrong_calls_raise(recorder: Recorder, call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(recorder)


@pytest.mark.parametrize(
    ("value", "dimensions", "text"),
    [
        (-1, ["v"], "cannot be negative"),
        (float("nan"), ["v"], "finite"),
        ("many", ["v"], "could not convert"),
        (None, ["v"], "float"),
        (1, [], "should correspond to Dimension names"),
        (1, None, "should correspond to Dimension names"),
    ],
)
def test_a_number_that_cannot_be_recorded_is_logged_and_never_raised(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, value: Any, dimensions: Any, text: str
) -> None:
    recorder.add_metric_to_cache("x", "count", ["Kind"]).add_or_update(value, dimensions)
    assert recorder.drain() == []
    assert text in caplog.text


def test_a_metrics_dimensions_are_fixed_by_its_first_use(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.add_counter("x", 1)
    recorder.add_counter("x", 1, dimensions=[Dimension("Kind", "v")])
    assert len(recorder.drain()) == 1
    assert "Failed to update metric with name:x" in caplog.text


def test_a_metric_made_beforehand(recorder: Recorder) -> None:
    metric = recorder.add_metric_to_cache("x", "ms", ["Kind"], MetricTypes.GAUGE)
    assert recorder.get_metric("x", MetricTypes.GAUGE) is metric
    assert recorder.cache_keys() == ["gauge:x"]
    assert recorder.cache[MetricTypes.GAUGE]["x"] is metric
    metric.add_or_update(3, ["v"], "a")
    metric.update(4, "b", [Dimension("Other", "w")])
    assert recorder.drain() == [
        Sample("x", 3, "Milliseconds", "GAUGE", (("Kind", "v"),), "a"),
        Sample("x", 4, "Milliseconds", "GAUGE", (("Other", "w"),), "b"),
    ]


def test_what_the_server_declares_is_known_to_handlers(recorder: Recorder) -> None:
    recorder.declare(
        [Declared("Hits", "counter", "count"), Declared("HandlerTime", "gauge", "ms", ("ModelName", "Level"))]
    )
    assert recorder.cache_keys() == ["counter:Hits", "gauge:HandlerTime"]
    recorder.get_metric("Hits").add_or_update(2)
    recorder.add_time("HandlerTime", 1)
    assert recorder.drain() == [
        Sample("Hits", 2, "Count", "COUNTER", (), ""),
        Sample("HandlerTime", 1, "Milliseconds", "GAUGE", MODEL, "a,b"),
    ]
