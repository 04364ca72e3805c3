"""The pace of writing, by table: when turns are asked for, and how long each has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.metrics.pace import Pace


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ([100.0], [0]),
        ([100.0, 100.125, 100.25, 200.0], [0, 0, 0, 0]),
        ([100.0] * 5, [0] * 5),
        ([100.0] * 8, [0] * 5 + [0.25, 0.5, 0.75]),
        ([100.0] * 6 + [100.25, 100.5], [0] * 5 + [0.25, 0.25, 0.25]),
        ([100.0] * 7 + [101.5, 101.5], [0] * 5 + [0.25, 0.5, 0, 0]),
    ],
    ids=[
        "the first one",
        "seldom",
        "a second's worth after quiet",
        "then one interval after the other",
        "who comes when its turn is due waits for the one after",
        "quiet makes room again",
    ],
)
def test_turns(asked: list[float], waits: list[float]) -> None:
    pace = Pace(4)
    assert [pace.turn(now) for now in asked] == waits


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=200))
def test_turns_are_bounded_in_every_stretch_of_time(pauses: list[float]) -> None:
    """As the log thread asks: the next turn after the last one was had."""
    pace, now, had = Pace(10), 0.0, []
    for pause in pauses:
        now += pause
        now += pace.turn(now)
        had.append(now)
    for place, begin in enumerate(had):
        for later, end in enumerate(had[place:]):
            assert later <= 11 + (end - begin) * 10 + 1e-6
