"""Adaptive by cases: when it waits with an idle worker, for whom, and for how long.

How much it gains under loads of many kinds is measured by bench/batching, a few of them in tests/bench.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batching.views import lanes, view
from torchkeeper.engine.batching.adaptive import LANES, PART, WORTH, Adaptive
from torchkeeper.engine.batching.policy import (
    Arrived,
    Done,
    LaneView,
    Left,
    Lost,
    Send,
    Sent,
    View,
    WorkerView,
    objection,
)

#: What any batch costs, and each request in it; seconds.
A, B = 0.010, 0.0005
#: How soon clients ask again.
THINK = 0.001


def cycle(policy: Adaptive, clients: int, now: float, cost: float = A) -> float:
    """Clients ask at once, are answered together and have come back; returns the moment of the answers."""
    for _ in range(clients):
        policy.observe(Arrived("lane"), now)
    policy.observe(Sent(0, "lane", clients), now)
    done = now + cost + B * clients
    policy.observe(Done(0, clients, cost + B * clients, "lane"), done)
    policy.decide(view(0, 0), done)
    return done


def practised(clients: int = 8, cost: float = A, **arguments: float) -> tuple[Adaptive, float]:
    """A policy that has seen clients who come back after THINK; and the moment of their last answers."""
    policy, now = Adaptive(16, **arguments), 0.0
    for number in range(40):
        done = cycle(policy, clients - number % 2, now, cost)
        policy.decide(view(1, 0), done)  # it looks ahead whenever a worker is idle and somebody waits
        now = done + THINK
    return policy, cycle(policy, clients, now, cost)


def seen(waiting: int, *batches: int, oldest: float = 0.0) -> View:
    return View(lanes(waiting, oldest), [WorkerView(number, held) for number, held in enumerate(batches)])


def test_it_waits_for_those_who_will_be_back() -> None:
    policy, now = practised()
    policy.observe(Arrived("lane"), now + THINK / 2)
    again = policy.decide(seen(1, 0), now + THINK / 2)
    assert isinstance(again, float)
    assert now + THINK < again < now + THINK / 2 + PART * A


def test_it_goes_when_all_are_here() -> None:
    policy, now = practised()
    for _ in range(8):
        policy.observe(Arrived("lane"), now + THINK)
    assert policy.decide(seen(8, 0), now + THINK) == Send(0, 16)


def test_it_goes_when_the_time_is_over() -> None:
    policy, now = practised()
    policy.observe(Arrived("lane"), now + THINK / 2)
    moment, decision = now + THINK / 2, policy.decide(seen(1, 0), now + THINK / 2)
    while not isinstance(decision, Send):
        assert isinstance(decision, float)
        assert decision > moment
        moment, decision = decision, policy.decide(seen(1, 0), decision)
    assert moment <= now + THINK / 2 + PART * A


def test_at_first_it_is_greedy() -> None:
    policy = Adaptive(16)
    assert policy.decide(seen(1, 0), 1.0) == Send(0, 16)
    assert not policy.learned()


@pytest.mark.parametrize(
    ("waiting", "batches"),
    [(16, (0,)), (99, (0,)), (1, (0, 0))],
    ids=["a full batch", "more than one", "another worker is idle too"],
)
def test_it_never_waits(waiting: int, batches: tuple[int, ...]) -> None:
    policy, now = practised()
    assert policy.decide(seen(waiting, *batches), now) == Send(0, 16)


def test_it_never_waits_while_another_lane_does() -> None:
    policy, now = practised()
    both = View([LaneView("lane", 1, now), LaneView("other", 1, now)], [WorkerView(0)])
    assert policy.decide(both, now) == Send(0, 16)


def test_what_is_prepared_is_greedys() -> None:
    policy, now = practised()
    assert policy.decide(seen(16, 1), now) == Send(0, 16)
    assert policy.decide(seen(15, 1), now) is None
    assert policy.decide(seen(99, 2), now) is None


def test_a_batch_is_full_at_what_the_workers_memory_suffices_for() -> None:
    policy, now = practised()
    narrow = seen(4, 0)
    narrow.workers[0].most = 4
    assert policy.decide(narrow, now) == Send(0, 16)


def test_it_waits_no_longer_once_nobody_else_would_fit() -> None:
    """One came that costs much: those who are still expected cannot join."""
    policy, now = practised()
    assert isinstance(policy.decide(seen(1, 0, oldest=now), now), float)
    assert isinstance(policy.decide(seen(2, 0, oldest=now), now), float)
    full = View([LaneView("lane", 2, now, most=2)], [WorkerView(0)])
    assert policy.decide(full, now) == Send(0, 16)


def test_it_waits_no_longer_than_the_delay_that_was_set() -> None:
    policy, now = practised(max_delay=THINK / 2)
    assert policy.decide(seen(1, 0), now) == Send(0, 16), "nobody would be back by then"
    policy, now = practised(max_delay=2 * THINK)
    again = policy.decide(seen(1, 0), now)
    assert isinstance(again, float)
    assert again <= now + 2 * THINK


def test_short_batches_are_not_waited_for() -> None:
    policy, now = practised(cost=WORTH / 2)
    assert policy.decide(seen(1, 0), now) == Send(0, 16)


def test_it_does_not_wait_for_those_whom_another_worker_will_take_sooner() -> None:
    policy, now = practised()
    two = seen(1, 0, 1)
    two.workers[1].held.append(8)
    two.workers[1].begun = now - 2 * A
    assert policy.decide(two, now) == Send(0, 16)
    two.workers[1].begun = now
    assert isinstance(policy.decide(two, now), float)


def test_when_those_for_whom_it_waited_have_left_it_begins_anew() -> None:
    policy, now = practised()
    first = policy.decide(seen(1, 0, oldest=now), now)
    assert isinstance(first, float)
    policy.observe(Left("lane"), now + THINK / 4)
    again = policy.decide(seen(1, 0, oldest=now + THINK / 2), now + THINK / 2)
    assert isinstance(again, float)


def test_a_wait_that_nobody_was_left_for_is_no_wait() -> None:
    policy, now = practised()
    before = policy.learned()["wait"]
    assert isinstance(policy.decide(seen(1, 0, oldest=now), now), float)
    policy.observe(Left("lane"), now + THINK / 4)
    later = now + 600.0
    policy.observe(Arrived("lane"), later)
    assert policy.decide(seen(1, 0, oldest=later), later) == Send(0, 16)
    policy.observe(Sent(0, "lane", 1), later)
    assert policy.learned()["wait"] <= before


def test_what_it_learned_is_told() -> None:
    policy, now = practised()
    assert isinstance(policy.decide(seen(1, 0), now), float)
    policy.observe(Sent(0, "lane", 8), now + 0.002)
    learned = policy.learned()
    assert learned["fixed"] == pytest.approx(A, rel=0.1)
    assert learned["each"] == pytest.approx(B, rel=0.3)
    assert learned["concurrency"] == pytest.approx(7.5, rel=0.2)
    assert learned["wait"] == pytest.approx(THINK, rel=0.2), "it waited for them each time"
    assert learned["fill"] == pytest.approx(7.5 / 16, rel=0.2)


def test_lanes_are_learned_apart_and_bounded() -> None:
    """Descriptions of the model, each a lane of its own, do not push out what was learned of predictions."""
    policy, now = practised()
    for number in range(3 * LANES):
        for _ in range(3):
            now += 5.0
            policy.observe(Arrived(number), now - 5.0)
            policy.observe(Sent(0, number, 1), now - 5.0)
            policy.observe(Done(0, 1, 5.0, number), now)
    assert policy.learned()["fixed"] == pytest.approx(A, rel=0.1)
    assert len(policy._lanes) == LANES


def test_lanes_of_long_ago_make_room() -> None:
    """Whoever sends other shapes from some day on finds no memory that is full of those before."""
    policy, now = Adaptive(16), 0.0
    old, new = [f"old {number}" for number in range(LANES)], ["new", "newer"]
    for lanes_now, times in ((old, 1000), (new, 1000)):
        for turn in range(times):
            for lane in lanes_now:
                count = 1 + turn % 8
                for _ in range(count):
                    policy.observe(Arrived(lane), now)
                policy.observe(Sent(0, lane, count), now)
                now += A + B * count
                policy.observe(Done(0, count, A + B * count, lane), now)
    assert all(policy._lanes[lane].costs.known for lane in new)
    assert max(policy._lanes, key=lambda lane: policy._lanes[lane].answered) in new, "what is told is theirs"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("arrive"), st.integers(1, 9)),
            st.tuples(st.just("leave"), st.integers(1, 3)),
            st.tuples(st.just("done"), st.integers(0, 2)),
            st.tuples(st.just("lost"), st.integers(0, 2)),
            st.tuples(st.just("later"), st.integers(0, 30)),
        ),
        max_size=150,
    )
)
def test_whatever_happens_it_can_be_obeyed_and_nobody_waits_for_ever(steps: list[tuple[str, int]]) -> None:
    policy, now, waiting, oldest = Adaptive(4), 0.0, 0, 0.0
    workers = [WorkerView(number) for number in range(3)]
    held: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for what, number in steps:
        if what == "arrive":
            oldest = oldest if waiting else now
            waiting += number
            for _ in range(number):
                policy.observe(Arrived("lane"), now)
        elif what == "leave" and waiting >= number:
            waiting -= number
            for _ in range(number):
                policy.observe(Left("lane"), now)
        elif what == "done" and held[number]:
            policy.observe(Done(number, held[number].pop(0), 0.003, "lane"), now)
            workers[number].batches -= 1
            workers[number].held.popleft()
            workers[number].begun = now
        elif what == "lost":
            policy.observe(Lost(number, sum(held[number])), now)
            held[number], workers[number].batches = [], 0
            workers[number].held.clear()
        elif what == "later":
            now += number / 1000
        asked = 0
        while waiting:
            asked_of = View([LaneView("lane", waiting, oldest)], workers)
            decision = policy.decide(asked_of, now)
            assert objection(decision, asked_of, now) is None
            if not isinstance(decision, Send):
                assert decision is None or decision <= now + 1.0
                break
            count = min(decision.count, waiting)
            policy.observe(Sent(decision.worker_id, "lane", count), now)
            held[decision.worker_id].append(count)
            workers[decision.worker_id].batches += 1
            workers[decision.worker_id].held.append(count)
            waiting -= count
            asked += 1
        assert asked <= 6
