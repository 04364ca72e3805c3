"""Delay by table: a batch is full, or its first request has waited long enough."""

from __future__ import annotations

from engine.batching.views import lanes
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.policy import Done, LaneView, Send, View, WorkerView


def test_delay_waits_for_a_full_batch_or_its_time() -> None:
    policy = Delay(batch_size=4, max_delay=0.1)
    idle = [WorkerView(0, 0, idle_since=5.0)]
    assert policy.decide(View(lanes(1, 4.0), idle), now=5.0) == 5.1
    assert policy.decide(View(lanes(4, 4.0), idle), now=5.0) == Send(0, 4)
    assert policy.decide(View(lanes(1, 4.0), idle), now=5.1) == Send(0, 4)
    assert policy.decide(View(lanes(0, 4.0), idle), now=9.0) is None
    assert policy.decide(View(lanes(8, 4.0), [WorkerView(0, 1)]), now=9.0) is None


def test_the_time_counts_from_when_somebody_could_have_taken_it() -> None:
    """The longest idle worker is not looked for: the first idle one gets the batch."""
    policy = Delay(batch_size=4, max_delay=0.1)
    busy, first, second = WorkerView(0, 1, 1.0), WorkerView(1, 0, 6.0), WorkerView(2, 0, 2.0)
    seen = View(lanes(1, 4.0), [busy, first, second])
    assert policy.decide(seen, now=6.0) == 6.1
    assert policy.decide(seen, now=6.1) == Send(1, 4)


def test_the_lane_whose_head_waits_longest_decides() -> None:
    policy = Delay(batch_size=2, max_delay=0.1)
    seen = View([LaneView("a", 1, 1.0), LaneView("b", 5, 2.0)], [WorkerView(0, 0, 0.0)])
    assert policy.decide(seen, now=1.0) == 1.1


def test_without_a_delay_nobody_waits() -> None:
    policy = Delay(batch_size=4, max_delay=0.0)
    assert policy.decide(View(lanes(1, 4.0), [WorkerView(0)]), now=4.0) == Send(0, 4)
    policy.observe(Done(0, 1, 9.0, "lane"), 0.0)
    assert policy.decide(View(lanes(1, 4.0), [WorkerView(0)]), now=4.0) == Send(0, 4)


def test_a_worker_whose_memory_does_not_suffice_for_a_whole_batch_is_full_earlier() -> None:
    """Else those who wait for a batch that can never come would wait for all of the delay."""
    policy = Delay(batch_size=4, max_delay=0.1)
    small = [WorkerView(0, 0, idle_since=4.0, most=2)]
    assert policy.decide(View(lanes(1, 4.0), small), now=4.0) == 4.1
    assert policy.decide(View(lanes(2, 4.0), small), now=4.0) == Send(0, 2)
