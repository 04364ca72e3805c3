"""Percentiles, spread and the moments of an open loop."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.tune.latency import arrivals, percentile, spread


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0], 0.99, 1.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([1.0, math.inf], 0.99, math.inf),
        ([1.0, 2.0], 0.0, 1.0),
        ([float(n) for n in range(1, 1001)], 99.9 / 100, 999.0),
        ([float(n) for n in range(1, 101)], 0.07, 7.0),  # 0.07 * 100 is a little more than 7
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(percentile([], 0.5))
    assert spread([]) == spread([3.0]) == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_at_least_the_share_lies_at_or_below_it(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@given(st.lists(st.floats(0.5, 2), min_size=2))
def test_spread_is_by_the_mean(values: list[float]) -> None:
    assert spread(values) == pytest.approx((max(values) - min(values)) / (sum(values) / len(values)))


def test_arrivals_are_the_same_for_all_and_as_many_as_asked_for() -> None:
    moments = list(arrivals(1000, 10, seed=1))
    assert moments == list(arrivals(1000, 10, seed=1)) != list(arrivals(1000, 10, seed=2))
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 10
    assert abs(len(moments) - 10_000) < 5 * math.sqrt(10_000)
