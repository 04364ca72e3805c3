"""Policies by table: what waits, what the workers hold, what goes; and which decisions can be obeyed."""

import math
from typing import get_args

import pytest

from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import PREPARE_BELOW, Greedy
from torchkeeper.engine.batching.policies import POLICIES, BatchRules, make_policy
from torchkeeper.engine.batching.policy import (
    Arrived,
    Done,
    Event,
    LaneView,
    Left,
    Lost,
    Send,
    Sent,
    View,
    WorkerView,
    first_come,
    lane_of,
    objection,
)
from torchkeeper.wire.messages import Input, Kind


def lanes(waiting: int, oldest: float = 0.0) -> list[LaneView]:
    return [LaneView("lane", waiting, oldest)] if waiting else []


def view(waiting: int, *batches: int) -> View:
    return View(lanes(waiting), [WorkerView(number, held) for number, held in enumerate(batches)])


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
    policy.observe(Done(0, 4, PREPARE_BELOW / 2))
    assert policy.decide(view(waiting, *batches), now=1.0) == decision


def test_greedy_prepares_nothing_behind_long_batches() -> None:
    policy = Greedy(batch_size=1)
    assert policy.decide(view(5, 1), 0) is None, "no batch was measured yet"
    policy.observe(Done(0, 1, PREPARE_BELOW * 10))
    assert policy.decide(view(5, 1), 0) is None
    for _ in range(30):
        policy.observe(Done(0, 1, PREPARE_BELOW / 10))
    assert policy.decide(view(5, 1), 0) == Send(0, 1)


def test_delay_waits_for_a_full_batch_or_its_time() -> None:
    policy = Delay(batch_size=4, max_delay=0.1)
    idle = [WorkerView(0, 0, idle_since=5.0)]
    assert policy.decide(View(lanes(1, 4.0), idle), now=5.0) == 5.1
    assert policy.decide(View(lanes(4, 4.0), idle), now=5.0) == Send(0, 4)
    assert policy.decide(View(lanes(1, 4.0), idle), now=5.1) == Send(0, 4)
    assert policy.decide(View(lanes(0, 4.0), idle), now=9.0) is None
    assert policy.decide(View(lanes(8, 4.0), [WorkerView(0, 1)]), now=9.0) is None


def test_the_policy_is_chosen_by_name() -> None:
    assert isinstance(make_policy("greedy", BatchRules(1, 100)), Greedy)
    assert isinstance(make_policy("delay", BatchRules(1, 100)), Delay)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_takes_every_event(name: str) -> None:
    policy = make_policy(name, BatchRules(4, 100))
    events = [Arrived("lane"), Left("lane"), Sent(0, "lane", 1), Done(0, 1, 0.1), Lost(0, 1)]
    assert {type(event) for event in events} == set(get_args(Event))
    for event in events:
        policy.observe(event)
    assert policy.admit("lane", 10**6, now=1.0) is None
    assert policy.decide(view(4, 0), now=1.0) == Send(0, 4)


def request(name: str, kind: Kind = Kind.PREDICT, envelope: str | None = None) -> Input:
    return Input(name, kind, (), {}, envelope)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (request("a"), request("b"), True),
        (request("a"), request("b", Kind.EXPLAIN), False),
        (request("a"), request("b", envelope="kserve"), False),
        (request("a", envelope="kserve"), request("b", envelope="kserve"), True),
        (request("a", Kind.DESCRIBE), request("b", Kind.DESCRIBE), False),
    ],
)
def test_who_may_share_a_batch(one: Input, other: Input, together: bool) -> None:
    assert (lane_of(one) == lane_of(other)) is together


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        (None, None),
        (Send(0, 1), None),
        (Send(1, 5, "lane"), None),
        (1.5, None),
        (1.0, "not after"),
        (math.nan, "not after"),
        (math.inf, "not after"),
        (Send(0, 0), "send 0 requests"),
        (Send(9, 1), "not there"),
        (Send(2, 1), "hands are full"),
        (Send(0, 1, "other"), "nothing waits"),
    ],
)
def test_objections(decision: Send | float | None, says: str | None) -> None:
    said = objection(decision, view(3, 0, 1, 2), now=1.0)
    assert said is None if says is None else says in str(said)


def test_with_nothing_to_send_there_is_nothing_to_obey() -> None:
    assert objection(Send(0, 1), view(0, 0), now=1.0) is not None
    assert first_come(view(0, 0)) is None
    assert first_come(view(3, 1)) is None
    assert first_come(view(3, 1, 0)) == Send(1, 1)
