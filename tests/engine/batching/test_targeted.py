"""A policy under a latency target: how large batches are, who is refused, and how long it waits.

That nobody is late under overload is shown in tests/bench, with the simulator.
"""

from __future__ import annotations

import logging

import pytest

from engine.batching.views import lanes, view
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Arrived, Done, Lost, Policy, Send, Sent, View, WorkerView
from torchkeeper.engine.batching.targeted import Targeted

#: What any batch costs, and each request in it; seconds.
A, B = 0.010, 0.001


def practised(target: float, policy: Policy | None = None, size: int = 32, worker_id: int = 0) -> Targeted:
    """A policy that has seen batches of all sizes, one after the other, until 1 s."""
    targeted = Targeted(policy or Greedy(size), size, target)
    for number in range(60):
        count = 1 + number % size
        targeted.observe(Sent(worker_id, "lane", count), 0.0)
        targeted.observe(Done(worker_id, count, A + B * count), 1.0)
    targeted.decide(view(1, 0), 1.0)
    return targeted


def sent(decision: Send | float | None) -> int:
    assert isinstance(decision, Send)
    return decision.count


@pytest.mark.parametrize(("target", "most"), [(1.0, 32), (0.060, 23), (0.040, 12), (0.012, 1), (0.001, 1)])
def test_batches_are_as_large_as_the_target_has_room_for(target: float, most: int) -> None:
    assert sent(practised(target).decide(view(99, 0), 1.0)) == pytest.approx(most, abs=1)


def test_who_would_be_late_is_refused_and_who_would_not_is_taken() -> None:
    policy = practised(0.060)
    policy.observe(Sent(0, "lane", 20), 1.0)
    policy.decide(view(1, 1), 1.0)
    assert policy.admit("lane", 0, 1.028) is None, "the batch that runs is nearly over"
    refused = policy.admit("lane", 0, 1.001)
    assert refused is not None
    assert "0 requests wait already" in refused
    assert "latencyTarget is 60 ms" in refused
    assert policy.admit("lane", 40, 1.028) is not None, "many are before it"


def test_an_idle_worker_takes_whoever_comes_even_if_it_is_late() -> None:
    policy = practised(0.005)
    assert policy.admit("lane", 0, 1.0) is None


def test_nothing_is_refused_as_long_as_nothing_is_known() -> None:
    policy = Targeted(Greedy(4), 4, 0.001)
    policy.observe(Sent(0, "lane", 4), 0.0)
    policy.decide(view(4, 1), 0.0)
    assert policy.admit("lane", 100, 0.0) is None
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


def test_a_lost_worker_is_not_waited_for() -> None:
    policy = practised(0.060)
    policy.observe(Sent(0, "lane", 20), 1.0)
    policy.decide(view(1, 1), 1.0)
    assert policy.admit("lane", 0, 1.001) is not None
    policy.observe(Lost(0, 20), 1.001)
    assert policy.admit("lane", 0, 1.001) is None


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
