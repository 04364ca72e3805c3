"""The line a + b n through what batches took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.tune.cost import BatchCost, fitted


@given(st.floats(0, 1), st.floats(1e-6, 1), st.sets(st.integers(1, 256), min_size=2))
def test_a_line_is_found_again(fixed: float, per_row: float, sizes: set[int]) -> None:
    found = fitted([(float(n), fixed + per_row * n) for n in sizes])
    for n in sizes:
        assert found.of(n) == pytest.approx(fixed + per_row * n, rel=1e-6)


@given(st.lists(st.tuples(st.floats(1, 256), st.floats(1e-6, 10)), min_size=1))
def test_no_part_is_negative(points: list[tuple[float, float]]) -> None:
    found = fitted(points)
    assert found.fixed >= 0
    assert found.per_row >= 0


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(4.0, 2.0)], BatchCost(0.0, 0.5)),
        ([(1.0, 3.0), (2.0, 3.0)], BatchCost(3.0, 0.0)),
        ([(1.0, 2.0), (4.0, 2.0), (16.0, 1.9)], BatchCost(pytest.approx(1.95, abs=0.06), 0.0)),
        ([(1.0, 0.0)], BatchCost(0.0, 0.0)),
    ],
)
def test_few_or_falling_points_give_what_they_can(
    points: list[tuple[float, float]], expected: BatchCost
) -> None:
    assert fitted(points) == expected


def test_of_nothing_no_line_is_made() -> None:
    with pytest.raises(ValueError, match="no batch was measured"):
        fitted([])


def test_the_rate_is_of_all_workers() -> None:
    assert BatchCost(1.0, 0.5).rate(2, workers=3) == 3.0
    assert BatchCost(0.0, 0.0).rate(2) == 0.0
