"""What is learned of a batch's cost, from batches that cost what a test says."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.batching.costs import FIRST, Costs


def learned(*batches: tuple[int, float]) -> Costs:
    """Of batches by (size, seconds), after the first ones of a worker."""
    costs = Costs()
    for _ in range(FIRST):
        costs.took(0, 1, 1000.0)
    for count, seconds in batches:
        costs.took(0, count, seconds)
    return costs


@given(
    a=st.floats(0.0, 0.1),
    b=st.floats(0.0, 0.01),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=40, unique=True).filter(
        lambda sizes: max(sizes) >= 2 * min(sizes)
    ),
)
def test_the_line_is_found(a: float, b: float, sizes: list[int]) -> None:
    costs = learned(*((count, a + b * count) for count in sizes * 3))
    for count in (min(sizes), max(sizes)):
        assert costs.seconds(count) == pytest.approx(a + b * count, rel=0.1, abs=1e-6)


def test_the_line_is_found_through_noise() -> None:
    random = Random(1)
    sizes = [random.randint(1, 32) for _ in range(400)]
    costs = learned(*((n, (0.005 + 0.001 * n) * random.gauss(1.0, 0.05)) for n in sizes))
    assert costs.a == pytest.approx(0.005, rel=0.2)
    assert costs.b == pytest.approx(0.001, rel=0.1)


def test_the_first_batches_of_each_worker_are_left_out() -> None:
    costs = Costs()
    for worker_id in (0, 1):
        for _ in range(FIRST):
            costs.took(worker_id, 1, 9.0)
    assert not costs.known
    costs.took(0, 1, 0.1)
    costs.took(1, 1, 0.1)
    costs.lost(1)
    for _ in range(FIRST):
        costs.took(1, 1, 9.0)
    assert costs.seconds(1) == pytest.approx(0.1)


def test_as_long_as_one_size_was_seen_all_counts_as_fixed() -> None:
    costs = learned((4, 0.5), (4, 0.5))
    assert (costs.a, costs.b) == (0.5, 0.0)


def test_one_that_was_held_up_says_little() -> None:
    costs = learned(*[(4, 0.1)] * 20, (4, 60.0))
    assert costs.seconds(4) <= 0.12


def test_a_change_is_followed() -> None:
    costs = learned(*[(1, 0.1), (8, 0.17)] * 50, *[(1, 0.02), (8, 0.09)] * 50)
    assert costs.a == pytest.approx(0.01, rel=0.1)
    assert costs.b == pytest.approx(0.01, rel=0.1)


def test_neither_part_is_ever_negative() -> None:
    falling = learned(*[(1, 0.4), (8, 0.1)] * 9)
    assert falling.b == 0.0
    assert falling.a > 0.0
    steep = learned(*[(4, 0.01), (8, 0.1)] * 9)
    assert steep.a == 0.0
    assert steep.b > 0.0
