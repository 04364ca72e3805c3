"""How far means of measured ratios can be trusted: against a worked example and what must hold of any."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servebench.intervals import interval


def test_a_worked_example() -> None:
    """Logarithms -0.1, 0, 0.1, 0.2, 0.3: mean 0.1, s = 0.15811, half width 2.776 s / sqrt(5) = 0.19629."""
    found = interval([math.exp(0.1 * number) for number in (-1, 0, 1, 2, 3)])
    assert found.mean == pytest.approx(math.exp(0.1))
    assert found.low == pytest.approx(math.exp(0.1 - 0.19629), rel=1e-4)
    assert found.high == pytest.approx(math.exp(0.1 + 0.19629), rel=1e-4)


def test_one_ratio_says_nothing_of_the_others() -> None:
    found = interval([1.5])
    assert (found.mean, found.low, found.high) == (pytest.approx(1.5), 0.0, math.inf)


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=30))
def test_the_mean_lies_within_and_the_reverse_ratio_is_the_reverse(ratios: list[float]) -> None:
    found, other = interval(ratios), interval([1 / ratio for ratio in ratios])
    assert found.low <= found.mean * (1 + 1e-9)
    assert found.mean <= found.high * (1 + 1e-9)
    assert other.mean == pytest.approx(1 / found.mean)
    assert other.low == pytest.approx(1 / found.high)
