"""How many share a batch whose cost is bounded, by table."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.batching.fitting import fitting

ANY = sys.maxsize


@pytest.mark.parametrize(
    ("costs", "fits"),
    [
        ([], ANY),
        ([1], 4),
        ([1, 1], 4),
        ([2], 2),
        ([3], 1),
        ([4], 1),
        ([9], 1),
        ([1, 3], 2),
        ([1, 2], 2),
        ([1, 4], 1),
        ([1, 1, 9, 1], 2),
        ([0, 0], ANY),
        ([0] * 9, ANY),
        ([0.5] * 8, ANY),
        ([0.1, 0.1], 2 + 8),
        ([5e-324], 1 + 8),
    ],
)
def test_eight_requests_that_cost_four_at_most(costs: list[float], fits: int) -> None:
    assert fitting(costs, 8, 4) == fits


@given(
    st.lists(st.integers(0, 9) | st.floats(0, 9), min_size=1, max_size=20),
    st.integers(1, 9),
    st.floats(0.1, 20),
)
def test_those_who_fit_cost_no_more_than_they_may(costs: list[float], most: int, bound: float) -> None:
    fits = fitting(costs, most, bound)
    first = costs[: min(fits, most)]
    assert len(first) == 1 or sum(first) <= bound
    assert fits >= len(costs[:most]) or sum(costs[: fits + 1]) > bound
