"""Metrics, units and labels, and where the numbers of a metric without a recorder go."""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.metric import (
    MAX_PENDING,
    CachingMetric,
    Dimension,
    Metric,
    MetricAbstract,
    MetricEncoder,
    MetricTypes,
    Units,
    emit_metrics,
    unowned,
)
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.messages import Sample


class Rude:
    """A number and a list that raises whatever is asked of it."""

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise LookupError

    def __str__(self) -> str:
        raise ArithmeticError


def recorded(metric: CachingMetric) -> deque[Sample]:
    """Where the numbers of a metric go from now on, as with one that a recorder made."""
    metric.samples = deque()
    return metric.samples


@pytest.mark.parametrize(
    ("unit", "published"),
    [("ms", "Milliseconds"), ("MB", "Megabytes"), ("", "unit"), ("apples", "apples"), ("count", "Count")],
)
def test_units(unit: str, published: str) -> None:
    assert CachingMetric("x", unit).unit == Metric("x", 1, unit, []).unit == published
    assert Units().units.get(unit, unit) == published


def test_labels_stand_in_the_order_of_their_names() -> None:
    metric = CachingMetric("x", "ms", ["B", "A"], MetricTypes.GAUGE)
    samples = recorded(metric)
    metric.add_or_update(1.5, ["b", 7], "r")
    metric.add_or_update(-2, ("c", None), None)
    assert list(samples) == [
        Sample("x", 1.5, "Milliseconds", "GAUGE", (("B", "b"), ("A", "7")), "r"),
        Sample("x", -2, "Milliseconds", "GAUGE", (("B", "c"), ("A", "None")), ""),
    ]


def test_a_label_that_has_no_text_is_recorded_all_the_same() -> None:
    metric = CachingMetric("x", "", ["A"])
    samples = recorded(metric)
    metric.add_or_update(1, [Rude()])
    metric.add_or_update(1, ["\ud800"])
    values = [dict(sample.dimensions)["A"] for sample in samples]
    assert values == ["<Rude, whose str() raises ArithmeticError>", "\\ud800"]


def test_the_callers_list_stays_the_callers() -> None:
    names = ["A"]
    metric = CachingMetric("x", "ms", names)
    names.append("B")
    assert metric.dimension_names == ["A"]


@pytest.mark.parametrize("kind", MetricTypes)
def test_only_counters_cannot_fall(kind: MetricTypes, caplog: pytest.LogCaptureFixture) -> None:
    metric = CachingMetric("x", "", metric_type=kind)
    samples = recorded(metric)
    metric.add_or_update(-1)
    assert len(samples) == (0 if kind is MetricTypes.COUNTER else 1)
    assert ("Counter metric update value cannot be negative" in caplog.text) is not bool(samples)


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (float("inf"), ["v"]),
        ("x", ["v"]),
        (10**400, ["v"]),
        (None, ["v"]),
        (1, []),
        (1, None),
        (1, ["v", "w"]),
        (1, 5),
        (Rude(), ["v"]),
        (1, Rude()),
    ],
)
def test_measuring_never_fails_a_request(value: Any, labels: Any, caplog: pytest.LogCaptureFixture) -> None:
    metric = CachingMetric("x", "", ["A"])
    samples = recorded(metric)
    metric.add_or_update(value, labels)
    assert not samples
    assert caplog.messages[0].startswith("Failed to update metric with name:x and dimensions: ")


@given(st.floats() | st.integers() | st.text(max_size=5), st.sampled_from(MetricTypes))
def test_what_is_recorded_is_a_finite_number(value: Any, kind: MetricTypes) -> None:
    metric = CachingMetric("x", "", metric_type=kind)
    samples = recorded(metric)
    metric.add_or_update(value)
    for sample in samples:
        assert sample.value == float(value)
        assert abs(sample.value) < float("inf")
        assert sample.value >= 0 or kind is not MetricTypes.COUNTER


def test_an_update_brings_its_own_labels() -> None:
    metric = CachingMetric("x", "", ["A"], MetricTypes.GAUGE)
    samples = recorded(metric)
    metric.update(3, "r", [Dimension("B", 1)])
    assert metric.dimension_names == ["B"]
    assert list(samples) == [Sample("x", 3, "unit", "GAUGE", (("B", "1"),), "r")]


def test_metrics_made_without_a_recorder_reach_it() -> None:
    CachingMetric("x", "count").add_or_update(1)
    old = Metric("y", 5, "MB", [Dimension("Kind", "v")], "a")
    old.update(7)
    old.reset()
    assert Recorder("m").drain() == [
        Sample("x", 1, "Count", "COUNTER", (), ""),
        Sample("y", 7, "Megabytes", "COUNTER", (("Kind", "v"),), "a"),
        Sample("y", 0, "Megabytes", "COUNTER", (("Kind", "v"),), "a"),
    ]
    assert not unowned


def test_of_numbers_that_nobody_takes_the_newest_are_kept() -> None:
    metric = CachingMetric("x", "")
    for number in range(MAX_PENDING + 2):
        metric.add_or_update(number)
    values = [sample.value for sample in unowned]
    unowned.clear()
    assert (len(values), values[0], values[-1]) == (MAX_PENDING, 2, MAX_PENDING + 1)


def test_the_oldest_form_of_a_metric_shows_itself() -> None:
    labels = [Dimension("Kind", "v"), Dimension("Level", 3)]
    old = Metric("y", 5, "MB", labels, "a", "method")
    start, end = str(old).split("#hostname:")
    assert start == "y.Megabytes:5|#Kind:v,Level:3|"
    assert end.startswith(f"{socket.gethostname()},")
    assert end.endswith(",a")
    assert str(Metric("y", 5, "MB", [])).count(",") == 1
    shown = old.to_dict()
    assert shown.pop("Timestamp") > 0
    assert shown == {
        "MetricName": "y",
        "Value": 5,
        "Unit": "Megabytes",
        "Dimensions": labels,
        "HostName": socket.gethostname(),
        "RequestId": "a",
    }


def test_a_dimension_shows_itself() -> None:
    assert str(Dimension("Kind", 3)) == "Kind:3"
    assert Dimension("Kind", 3).to_dict() == {"Name": "Kind", "Value": 3}


def test_metrics_as_json() -> None:
    metric = Metric("x", 1, "ms", [Dimension("Level", "Model")], "a")
    told = json.loads(json.dumps([metric], cls=MetricEncoder))[0]
    assert (told["MetricName"], told["Unit"], told["RequestId"]) == ("x", "Milliseconds", "a")
    assert told["Dimensions"] == [{"Name": "Level", "Value": "Model"}]
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(object(), cls=MetricEncoder)


def test_metrics_of_the_oldest_form_are_emitted(capsys: pytest.CaptureFixture[str]) -> None:
    unowned.clear()
    metric = Metric("x", 2, "ms", [Dimension("Level", "Model")], "a")
    emit_metrics([metric, "y.Count:1|#Level:M|#hostname:h,1"])
    labels = (("Level", "Model"),)
    assert list(unowned) == [Sample("x", 2.0, "Milliseconds", "GAUGE", labels, "a")]
    assert capsys.readouterr().out == "[METRICS]y.Count:1|#Level:M|#hostname:h,1\n"
    emit_metrics({"x": metric})
    assert len(unowned) == 2
    recorder = Recorder("m")
    recorder.add_counter("z", 1)
    emit_metrics(recorder.cache)
    assert (len(unowned), capsys.readouterr().out) == (2, "")
    emit_metrics(None)  # type: ignore[arg-type]  # as TorchServe's takes it
    unowned.clear()


def test_a_metric_of_ones_own_is_derived_from_the_base() -> None:
    class Counted(MetricAbstract):
        def add_or_update(self, value: float, dimension_values: Any, request_id: str | None = "") -> None:
            self.last = value

    counted = Counted("x", "ms", ["Level"])
    counted.add_or_update(3, ["Model"])
    assert (counted.unit, counted.metric_type, counted.last) == ("Milliseconds", MetricTypes.COUNTER, 3)
