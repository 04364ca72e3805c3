"""How large a batch may be where the memory did not suffice: lower at once, higher with patience."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.batch_bound import MOST_PATIENCE, PATIENCE, BatchBound


def fill(bound: BatchBound, batches: int) -> int:
    """So many full batches fit; how often the bound rose."""
    return sum(bound.fitted(bound.most) for _ in range(batches))


def test_a_bound_falls_at_once_and_rises_by_growing_steps_while_batches_fit() -> None:
    bound = BatchBound(16, batch_size=16)
    assert bound.failed(3)
    assert fill(bound, PATIENCE - 1) == 0
    steps = []
    while bound.most < 16:
        assert fill(bound, 1) <= 1
        steps.append(bound.most)
    assert sorted(set(steps)) == [4, 6, 10, 16]
    assert fill(bound, 10 * PATIENCE) == 0, "it is the model's own now"


def test_batches_that_are_not_full_say_nothing() -> None:
    bound = BatchBound(4, batch_size=16)
    assert not any(bound.fitted(3) for _ in range(10 * PATIENCE))
    assert bound.most == 4


def test_a_failure_in_between_begins_anew() -> None:
    bound = BatchBound(4, batch_size=16)
    fill(bound, PATIENCE - 1)
    assert not bound.failed(4), "another worker's batch was of a size that was too large before"
    assert fill(bound, PATIENCE - 1) == 0
    assert fill(bound, 1) == 1


def test_where_a_larger_one_does_not_fit_again_it_is_tried_more_and_more_seldom() -> None:
    bound = BatchBound(4, batch_size=16)
    waits = []
    for _ in range(12):
        tries = 0
        while not bound.fitted(4):
            tries += 1
        waits.append(tries + 1)
        assert bound.failed(4)
    assert waits[:3] == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE]
    assert waits[-1] == MOST_PATIENCE


@given(st.lists(st.integers(0, 16), max_size=300), st.integers(1, 16))
def test_it_finds_what_fits_and_stays_there(moves: list[int], fits: int) -> None:
    """Whatever happened before: it comes up to what fits, and never asks for more than the model's own."""
    bound = BatchBound(16, batch_size=16)
    for move in moves:
        if move:
            bound.failed(move)
        else:
            fill(bound, PATIENCE)
        assert 1 <= bound.most <= 16
    reached = 0
    for _ in range(20 * MOST_PATIENCE):
        if bound.most > fits:
            bound.failed(fits)
        bound.fitted(bound.most)
        reached = max(reached, bound.most)
        if reached >= fits:
            break
    assert reached >= fits
