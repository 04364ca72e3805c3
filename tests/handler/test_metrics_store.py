"""The oldest recorder: a list of metrics beside the samples."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from torchkeeper.handler.metric import Dimension
from torchkeeper.handler.metrics_store import MetricsStore


def test_the_last_number_of_each_stands_in_the_store() -> None:
    store = MetricsStore({0: "a", 1: "b"}, "m")
    store.add_counter("x", 1, 0)
    store.add_counter("x", 2, 0)
    store.add_counter("x", 3, 1)
    store.add_time("t", 1.5, None, "s", [Dimension("Kind", "k")])
    store.add_error("e", 1, None)
    store.add_percent("p", 50, dimensions=None)
    told = [(one.name, one.value, one.unit, one.request_id) for one in store.store]
    assert told == [
        ("x", 2, "Count", "a"),
        ("x", 3, "Count", "b"),
        ("t", 1.5, "Seconds", "a,b"),
        ("e", 1, "unit", None),
        ("p", 50, "Percent", "a,b"),
    ]
    assert str(store.store[2]).startswith("t.Seconds:1.5|#Kind:k,ModelName:m,Level:Model|#hostname:")
    assert len(store.drain()) == 6


@pytest.mark.parametrize(
    ("ids", "told", "level"),
    [(None, None, "Error"), ("one", "one", "Model"), (uuid.UUID(int=1), None, "Model")],
)
def test_ids_of_any_kind(ids: Any, told: str | None, level: str) -> None:
    store = MetricsStore(ids, "m")
    store.add_size("s", 1)
    (metric,) = store.store
    assert metric.request_id == (told or ("" if ids is None else str(ids)))
    assert metric.dimension_values[-1] == level
