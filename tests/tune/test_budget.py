"""How much time there is, and how it is divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.tune.budget import COMPILED, COSTS, FINAL, RACE, Budget, read_time
from torchkeeper.tune.refusal import TuneRefused


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1.5h", 5400), ("600", 600), (" 1 m ", 60)]
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "5d", "1m30s", "inf", "10", "0h"])
def test_what_is_no_time_or_too_little_is_refused(text: str) -> None:
    with pytest.raises(TuneRefused, match="--time"):
        read_time(text)


@given(st.floats(15, 1e5), st.lists(st.floats(0, 1e4)))
def test_the_time_only_runs_out(seconds: float, steps: list[float]) -> None:
    now = 100.0
    budget = Budget(seconds, lambda: now)
    assert budget.left == budget.seconds == seconds
    for step in steps:
        now += step
        assert budget.left == max(seconds - budget.spent, 0)
        shares = (COSTS, RACE, COMPILED, FINAL, 1.0)
        assert sorted(map(budget.until, shares)) == list(map(budget.until, shares))
        assert budget.until(1.0) == budget.left
        assert budget.fits(budget.until(RACE), RACE)
        assert not budget.fits(budget.left + 1)
    assert 0.3 <= budget.each <= 3.0
