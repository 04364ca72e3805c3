"""The one parser of metrics.yaml: whatever a text holds, it is metrics or an error that says why."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.wire.messages import Declared
from torchkeeper.wire.metrics_yaml import KINDS, Flaw, MetricsYamlError, load_metrics_yaml, metrics_of


def test_metrics_come_in_their_order_with_text_for_names() -> None:
    text = """
model_metrics:
  counter:
    - {name: Hits, unit: count, dimensions: [Level, 1]}
    - {name: 7, unit: count}
  histogram:
  gauge:
    - {name: Hits, unit: ms, dimensions: }
"""
    assert metrics_of(load_metrics_yaml(text)["model_metrics"]) == (
        Declared("Hits", "counter", "count", ("Level", "1")),
        Declared("7", "counter", "count"),
        Declared("Hits", "gauge", "ms"),
    )
    assert metrics_of(None) == metrics_of({}) == ()


@pytest.mark.parametrize("text", ["a: [", "a: *gone", "a: 2026-99-99", "a: " + "[" * 5000])
def test_no_yaml(text: str) -> None:
    with pytest.raises(MetricsYamlError, match="is no YAML") as raised:
        load_metrics_yaml(text)
    assert raised.value.flaw is Flaw.YAML


@pytest.mark.parametrize("text", ["", "[]", "5"])
def test_no_mapping(text: str) -> None:
    with pytest.raises(MetricsYamlError, match="must hold a mapping") as raised:
        load_metrics_yaml(text)
    assert raised.value.flaw is Flaw.FORM


@pytest.mark.parametrize(
    ("section", "flaw", "why"),
    [
        ([1], Flaw.FORM, "must be a mapping of counter, gauge, histogram"),
        ({"timer": []}, Flaw.KEY, "'timer' is not one of counter, gauge, histogram"),
        ({"gauge": 5}, Flaw.FORM, "gauge must be a list of metrics"),
        ({"gauge": {"name": "x"}}, Flaw.FORM, "gauge must be a list of metrics"),
        ({"gauge": ["x"]}, Flaw.FORM, "'x' is no metric"),
        ({"gauge": [{"name": "", "unit": "s"}]}, Flaw.KEY, "Metric name cannot be empty"),
        ({"gauge": [{"name": "x"}]}, Flaw.KEY, "Metric unit cannot be empty"),
        ({"gauge": [{"name": "x", "unit": "s", "dimensions": "L"}]}, Flaw.FORM, "dimensions of x must be"),
    ],
)
def test_what_is_wrong_with_a_section(section: Any, flaw: Flaw, why: str) -> None:
    with pytest.raises(MetricsYamlError, match=why) as raised:
        metrics_of(section)
    assert raised.value.flaw is flaw


PLAIN = st.none() | st.booleans() | st.integers() | st.text()
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(KINDS), inner)
)
METRICS = st.lists(ANYTHING | st.fixed_dictionaries({"name": ANYTHING, "unit": ANYTHING}))


@given(ANYTHING | st.dictionaries(st.sampled_from(KINDS), METRICS | ANYTHING))
def test_a_section_of_anything_is_metrics_or_one_kind_of_error(section: Any) -> None:
    read = load_metrics_yaml(yaml.safe_dump({"ts_metrics": section}))["ts_metrics"]
    try:
        metrics = metrics_of(read)
    except MetricsYamlError:
        metrics = ()
    assert all(metric.kind in KINDS and metric.name and metric.unit for metric in metrics)
