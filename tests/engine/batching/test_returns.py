"""Who is expected back, and when: from returns whose times a test says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.batching.returns import EDGES, MOST, REMEMBERED, TURNS, Returns, bin_of


def cycles(returns: Returns, count: int, away: float, times: int, start: float = 0.0) -> float:
    """So many clients are answered at once and come back after `away` seconds, again and again."""
    now = start
    for _ in range(times):
        returns.answered(count, now)
        for _ in range(count):
            returns.arrived(now + away)
        now += 10 * away
    return now


def within(returns: Returns, now: float, seconds: float) -> float:
    """How many are expected by then."""
    return max((number for _, number in returns.expected(now, seconds)), default=0.0)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 50e-6, 51e-6, 0.003, 36.0, 1e9])
def test_a_time_lies_within_its_bin(seconds: float) -> None:
    number = bin_of(seconds)
    assert seconds <= EDGES[number] or number == len(EDGES) - 1
    assert number == 0 or seconds > EDGES[number - 1]


def test_all_come_back_when_those_before_them_did() -> None:
    returns = Returns()
    now = cycles(returns, 8, 0.004, 6)
    returns.answered(8, now)
    assert returns.away == 8
    assert within(returns, now, 0.002) == 0.0
    assert within(returns, now, 0.006) == pytest.approx(8.0)
    assert within(returns, now + 0.003, 0.003) == pytest.approx(8.0), "some time has gone by already"


def test_who_has_come_is_not_expected() -> None:
    returns = Returns()
    now = cycles(returns, 8, 0.004, 6)
    returns.answered(8, now)
    for _ in range(5):
        returns.arrived(now + 0.004)
    assert within(returns, now + 0.004, 1.0) == pytest.approx(3.0)


def test_nobody_is_expected_of_whom_nothing_is_known() -> None:
    returns = Returns()
    assert returns.expected(0.0, 1.0) == []
    returns.arrived(0.0)
    returns.answered(3, 1.0)
    assert within(returns, 1.0, 1.0) == 0.0


def test_who_does_not_come_for_some_turns_is_gone() -> None:
    """Else those who come would be taken for them for ever, and seem to have been away for long."""
    returns = Returns()
    returns.answered(50, 0.0)
    now = cycles(returns, 4, 0.002, 2 * TURNS, start=0.1)
    assert returns.away == 0
    cycles(returns, 4, 0.002, 4 * int(REMEMBERED) // 4, start=now)
    returns.answered(4, 1e3)
    assert within(returns, 1e3, 0.003) == pytest.approx(4.0, rel=0.1)


def test_older_returns_count_less() -> None:
    returns = Returns()
    now = cycles(returns, 8, 0.1, 20)
    now = cycles(returns, 8, 0.001, 40, start=now)
    returns.answered(8, now)
    assert within(returns, now, 0.002) > 7.5


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.floats(0.0, 0.1)), max_size=200))
def test_the_expectation_grows_and_never_exceeds_those_away(steps: list[tuple[bool, int, float]]) -> None:
    returns, now = Returns(), 0.0
    for answered, count, later in steps:
        now += later
        if answered:
            returns.answered(count, now)
        else:
            returns.arrived(now)
        numbers = [number for _, number in returns.expected(now, 1.0)]
        assert numbers == sorted(numbers)
        assert returns.away >= 0
        assert all(number <= returns.away + 1e-6 for number in numbers)


def test_what_is_kept_is_bounded() -> None:
    returns = Returns()
    for number in range(10 * MOST):
        returns.answered(1, number * 1e-6)
    assert returns.away <= MOST
