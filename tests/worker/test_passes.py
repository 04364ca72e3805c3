"""How often a handler is asked for a batch with requests that fail it: counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.worker.passes import in_passes


class Handler:
    """Answers a request by its place; finds `at_once` of the bad ones of a batch before it gives up.

    Of those that are fatal it does not even say which they are.
    """

    def __init__(self, bad: set[int], at_once: int, fatal: frozenset[int] = frozenset()) -> None:
        self.bad = bad
        self.at_once = at_once
        self.fatal = fatal
        self.asked: list[list[int]] = []

    def __call__(self, places: Sequence[int]) -> dict[int, str]:
        self.asked.append(list(places))
        if self.fatal.intersection(places):
            return {places[0]: "fatal"} if len(places) == 1 else {}
        bad = [place for place in places if place in self.bad][: self.at_once]
        return dict.fromkeys(bad, "bad") if bad else {place: f"answer {place}" for place in places}


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, set[int], int]:
    count = draw(st.integers(1, 80))
    places = st.integers(0, count - 1)
    return count, draw(st.sets(places, max_size=count)), draw(st.sampled_from([1, 2, 1000]))


@given(batches())
def test_every_request_has_its_own_outcome_and_the_passes_are_bounded(
    batch: tuple[int, set[int], int],
) -> None:
    count, bad, at_once = batch
    handler = Handler(bad, at_once)
    outcomes = in_passes(count, handler(range(count)), handler)
    assert outcomes == {place: "bad" if place in bad else f"answer {place}" for place in range(count)}
    assert len(handler.asked) <= count
    assert all(places == sorted(places) for places in handler.asked)
    if len(bad) <= at_once:
        assert len(handler.asked) <= 2, "all bad ones are known after the first pass"


@given(batches(), st.sets(st.integers(0, 79)))
def test_the_guilty_fail_alone_whether_they_are_named_or_not(
    batch: tuple[int, set[int], int], others: set[int]
) -> None:
    count, bad, at_once = batch
    fatal = frozenset(place for place in others if place < count)
    handler = Handler(bad, at_once, fatal)
    outcomes = in_passes(count, handler(range(count)), handler)
    assert outcomes == {
        place: "fatal" if place in fatal else "bad" if place in bad else f"answer {place}"
        for place in range(count)
    }
    assert len(handler.asked) <= 2 * count - 1
    if not bad:
        # From each guilty one up to the whole batch: the halves with it, and their innocent siblings.
        assert len(handler.asked) <= 1 + 2 * len(fatal) * (count - 1).bit_length()


@pytest.mark.parametrize(
    ("count", "bad", "at_once", "passes"),
    [
        (64, 0, 1, 1),
        (64, 1, 1, 2),
        (64, 32, 1000, 2),
        (64, 64, 1000, 1),
        (64, 2, 1, 4),
        (64, 32, 1, 64),
        (600, 600, 1, 600),
    ],
)
def test_passes(count: int, bad: int, at_once: int, passes: int) -> None:
    handler = Handler(set(range(0, 2 * bad, 2)) if bad <= count // 2 else set(range(bad)), at_once)
    in_passes(count, handler(range(count)), handler)
    assert len(handler.asked) <= passes
    read = sum(map(len, handler.asked))
    assert read <= count * (count.bit_length() + 2)


def test_a_handler_that_says_nothing_of_anybody_is_not_asked_for_ever() -> None:
    with pytest.raises(RuntimeError, match="no outcome for a request that was asked for alone"):
        in_passes(3, {}, lambda places: {})
