"""Greedy by table: what waits, what the workers hold, what goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batching.views import view
from torchkeeper.engine.batching.greedy import PREPARE_BELOW, Greedy
from torchkeeper.engine.batching.policy import Done, Send, objection


@pytest.mark.parametrize(
    ("waiting", "batches", "decision"),
    [
        (0, (0,), None),
        (1, (), None),
        (1, (0,), Send(0, 4)),
        (9, (1, 0), Send(1, 4)),
        (3, (1, 1), None),
        (4, (1, 1), Send(0, 4)),
        (9, (2, 1), Send(1, 4)),
        (9, (2, 2), None),
    ],
    ids=[
        "nothing waits",
        "no worker",
        "an idle worker takes what waits",
        "the idle one before the busy one",
        "no half batch is prepared",
        "a full batch is prepared",
        "one prepared is enough",
        "all hands are full",
    ],
)
def test_greedy(waiting: int, batches: tuple[int, ...], decision: Send | None) -> None:
    policy = Greedy(batch_size=4)
    policy.observe(Done(0, 4, PREPARE_BELOW / 2, "lane"), 0.0)
    assert policy.decide(view(waiting, *batches), now=1.0) == decision


def test_greedy_prepares_nothing_behind_long_batches() -> None:
    policy = Greedy(batch_size=1)
    assert policy.decide(view(5, 1), 0) is None, "no batch was measured yet"
    policy.observe(Done(0, 1, PREPARE_BELOW * 10, "lane"), 0.0)
    assert policy.decide(view(5, 1), 0) is None
    for _ in range(30):
        policy.observe(Done(0, 1, PREPARE_BELOW / 10, "lane"), 0.0)
    assert policy.decide(view(5, 1), 0) == Send(0, 1)


def test_a_batch_is_full_at_what_the_workers_memory_suffices_for() -> None:
    policy = Greedy(batch_size=4)
    policy.observe(Done(0, 4, PREPARE_BELOW / 2, "lane"), 0.0)
    seen = view(2, 1)
    assert policy.decide(seen, now=1.0) is None
    seen.workers[0].most = 2
    assert policy.decide(seen, now=1.0) == Send(0, 2)


def test_behind_the_only_worker_longer_batches_hide_the_turn_around_too() -> None:
    policy = Greedy(batch_size=1)
    policy.observe(Done(0, 1, PREPARE_BELOW * 2, "lane"), 0.0)
    assert policy.decide(view(5, 1, 1), 0) is None, "the other one may be idle sooner"
    assert policy.decide(view(5, 1), 0) == Send(0, 1)


def test_the_mean_follows_the_newest_batches() -> None:
    """One long batch among short ones ends preparing; as many short ones bring it back."""
    policy = Greedy(batch_size=1)
    policy.observe(Done(0, 1, 0.0, "lane"), 0.0)
    policy.observe(Done(0, 1, PREPARE_BELOW * 4.9, "lane"), 0.0)
    assert policy.decide(view(1, 1, 1), 0) == Send(0, 1)
    policy.observe(Done(0, 1, PREPARE_BELOW * 4.9, "lane"), 0.0)
    assert policy.decide(view(1, 1, 1), 0) is None
    for _ in range(10):
        policy.observe(Done(0, 1, 0.0, "lane"), 0.0)
    assert policy.decide(view(1, 1, 1), 0) == Send(0, 1)


@given(st.lists(st.integers(0, 2), max_size=4), st.integers(1, 9), st.floats(0, 1))
def test_no_worker_is_idle_while_a_request_waits(batches: list[int], waiting: int, seconds: float) -> None:
    policy = Greedy(batch_size=4)
    policy.observe(Done(0, 4, seconds, "lane"), 0.0)
    seen = view(waiting, *batches)
    decision = policy.decide(seen, 0)
    assert objection(decision, seen, now=0) is None
    if 0 in batches:
        assert decision == Send(batches.index(0), 4)
