"""A policy under a latency target: how large batches are, who is refused, and how long it waits.

That nobody is late under overload is shown in tests/bench, with the simulator.
"""

from __future__ import annotations

import logging
from collections import deque

import pytest

from engine.batching.views import lanes, view
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Arrived, Done, Lost, Policy, Send, Sent, View, WorkerView
from torchkeeper.engine.batching.targeted import Targeted

#: What any batch costs, and each request in it; seconds.
A, B = 0.010, 0.001


def practised(target: float, policy: Policy | None = None, size: int = 32) -> Targeted:
    """A policy that has seen batches of all sizes, one after the other, until 1 s."""
    targeted = Targeted(policy or Greedy(size), size, target)
    for number in range(60):
        count = 1 + number % size
        targeted.observe(Sent(0, "lane", count), 0.0)
        targeted.observe(Done(0, count, A + B * count, "lane"), 1.0)
    return targeted


def busy(*counts: int, begun: float = 1.0) -> list[WorkerView]:
    """Workers that compute so many requests each, since then; none: an idle one."""
    return [
        WorkerView(number, int(count > 0), held=deque([count] if count else []), begun=begun)
        for number, count in enumerate(counts)
    ]


def sent(decision: Send | float | None) -> int:
    assert isinstance(decision, Send)
    return decision.count


@pytest.mark.parametrize(("target", "most"), [(1.0, 32), (0.060, 23), (0.040, 12), (0.012, 1), (0.001, 1)])
def test_batches_are_as_large_as_the_target_has_room_for(target: float, most: int) -> None:
    assert sent(practised(target).decide(view(99, 0), 1.0)) == pytest.approx(most, abs=1)


def test_who_would_be_late_is_refused_and_who_would_not_is_taken() -> None:
    policy = practised(0.060)
    assert policy.admit("lane", 0, busy(20), 1.028, 32) is None, "the batch that runs is nearly over"
    refused = policy.admit("lane", 0, busy(20), 1.001, 32)
    assert refused is not None
    assert "0 requests wait already" in refused
    assert "latencyTarget is 60 ms" in refused
    assert policy.admit("lane", 40, busy(20), 1.028, 32) is not None, "many are before it"


def test_batches_that_costs_keep_small_are_more_and_so_later() -> None:
    policy = practised(0.060)
    assert policy.admit("lane", 8, busy(4), 1.010, 32) is None
    assert policy.admit("lane", 8, busy(4), 1.010, 2) is not None, "four go before it, two at a time"


def test_an_idle_worker_takes_whoever_comes_even_if_it_is_late() -> None:
    policy = practised(0.005)
    assert policy.admit("lane", 0, busy(0), 1.0, 32) is None
    assert policy.admit("lane", 0, busy(20), 1.0, 32) is not None
    assert policy.admit("lane", 0, busy(20, 0), 1.0, 32) is None, "one that came a moment ago counts, too"


def test_nothing_is_refused_as_long_as_nothing_is_known() -> None:
    policy = Targeted(Greedy(4), 4, 0.001)
    assert policy.admit("lane", 100, busy(4), 0.0, 32) is None
    assert sent(policy.decide(view(4, 0), 0.0)) == 1, "batches grow from one"


def test_a_delay_is_cut_short() -> None:
    policy = practised(0.040, Delay(32, 5.0))
    waiting = View(lanes(1, 1.0), [WorkerView(0, 0, 1.0)])
    again = policy.decide(waiting, 1.0)
    assert again == pytest.approx(1.022)
    assert sent(policy.decide(waiting, 1.022)) <= 13
    assert sent(policy.decide(View(lanes(14, 1.0), [WorkerView(0, 0, 1.0)]), 1.0)) <= 13, "as many as fit"


def test_nothing_is_prepared_behind_one_of_several() -> None:
    policy = practised(0.020)
    assert policy.decide(view(99, 1, 1), 1.0) is None
    assert sent(policy.decide(view(99, 1), 1.0)) >= 1


def test_a_new_workers_first_batches_are_left_out_again() -> None:
    policy = practised(0.060)
    policy.observe(Lost(0, 0), 1.0)
    for _ in range(2):
        policy.observe(Done(0, 1, 9.0, "lane"), 1.0)
    assert policy.admit("lane", 0, busy(20), 1.028, 32) is None


def test_a_target_that_cannot_be_met_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        practised(0.005)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "latencyTarget of 5 ms cannot be met: a batch of one request takes 1"
    )


def test_what_the_other_policy_learned_is_told() -> None:
    policy = practised(1.0, Adaptive(32))
    policy.observe(Arrived("lane"), 1.0)
    assert policy.learned()["fixed"] == pytest.approx(A, rel=0.2)
