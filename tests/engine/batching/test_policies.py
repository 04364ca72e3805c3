"""The policies that there are, by their names, and what all of them must take."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batching.views import lanes, view
from torchkeeper.config.model_settings import TABLE, ModelSettings
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policies import POLICIES, make_policy
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
)
from torchkeeper.wire.messages import Input, Kind


def said(name: str, size: int, delay: int) -> ModelSettings:
    return ModelSettings(batch_policy=name, batch_size=size, max_batch_delay=delay)


def test_the_policy_is_chosen_by_name() -> None:
    assert isinstance(make_policy(said("greedy", 1, 100)), Greedy)
    assert isinstance(make_policy(said("delay", 1, 100)), Delay)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_takes_every_event(name: str) -> None:
    policy = make_policy(said(name, 4, 100))
    events = [Arrived("lane"), Left("lane"), Sent(0, "lane", 1), Done(0, 1, 0.1, "lane"), Lost(0, 1)]
    assert {type(event) for event in events} == set(get_args(Event))
    for event in events:
        policy.observe(event, 0.5)
    assert policy.admit("lane", 10**6, [WorkerView(0)], now=1.0, most=9) is None
    assert policy.decide(view(4, 0), now=1.0) == Send(0, 4)


@pytest.mark.parametrize("target", [0, 60_000])
@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_that_nobody_fits_into_any_more_is_full(name: str, target: int) -> None:
    """Costs are the queue's; a policy sees how many requests a batch may have."""
    policy = make_policy(replace(said(name, 8, 100), latency_target=target))
    for _ in range(9):
        policy.observe(Sent(0, "lane", 8), 0.5)
        policy.observe(Done(0, 8, 0.01, "lane"), 1.0)
    idle, busy = WorkerView(0, 0, 1.0), WorkerView(0, 1, held=deque([8]))
    for waiting, most in ((3, 3), (5, 3), (1, 1)):
        full = policy.decide(View([LaneView("lane", waiting, 1.0, most)], [idle]), now=1.0)
        assert isinstance(full, Send)
        assert full.worker_id == 0
    behind = policy.decide(View([LaneView("lane", 3, 1.0, 3)], [busy]), now=1.0)
    assert isinstance(behind, Send) or name == "delay"
    assert policy.decide(View([LaneView("lane", 3, 1.0, 4)], [busy]), now=1.0) is None


@pytest.mark.parametrize("target", [0, 5])
@pytest.mark.parametrize("name", POLICIES)
@given(
    st.lists(st.builds(LaneView, st.uuids(), st.integers(1, 9), st.floats(0, 9), st.integers(1, 9))),
    st.lists(st.integers(0, 2), max_size=3),
)
def test_no_lane_goes_before_the_one_whose_head_waits_longest(
    name: str, target: int, found: list[LaneView], batches: list[int]
) -> None:
    policy = make_policy(replace(said(name, 4, 100), latency_target=target))
    policy.observe(Done(0, 1, 0.001, "lane"), 1.0)
    workers = [WorkerView(number, held, held=deque([1] * held)) for number, held in enumerate(batches)]
    ordered = sorted(found, key=lambda lane: lane.oldest)
    decision = policy.decide(View(ordered, workers), now=9.0)
    assert not isinstance(decision, Send) or decision.lane in (None, ordered[0].lane)


def test_settings_reach_the_policy() -> None:
    """The delay is in milliseconds in a model's settings, and in seconds here."""
    seen = View(lanes(1, 1.0), [WorkerView(0, 0, 1.0)])
    assert make_policy(said("delay", 4, 100)).decide(seen, now=1.0) == 1.1
    for name in POLICIES:
        assert make_policy(said(name, 7, 0)).decide(seen, now=1.0) == Send(0, 7)


def test_the_settings_know_the_same_names() -> None:
    (row,) = (row for row in TABLE if row.attribute == "batch_policy")
    assert all(row.rule.fits(name) for name in POLICIES)
    assert row.default in POLICIES
    *others, last = POLICIES
    assert row.rule.wanted == f"{', '.join(others)} or {last}"


@pytest.mark.parametrize("target", [0, 60_000])
@pytest.mark.parametrize("name", POLICIES)
def test_where_warm_up_says_how_many_go_together_only_predictions_do(name: str, target: int) -> None:
    def lanes_of(size: int | Literal["auto"], kind: Kind) -> set[Hashable]:
        settings = ModelSettings(batch_policy=name, batch_size=size, latency_target=target)
        policy = make_policy(settings)
        return {policy.lane(Input(each, kind, (), {})) for each in ("first", "second")}

    assert [len(lanes_of(8, kind)) for kind in Kind] == [1, 1, 2]
    assert [len(lanes_of("auto", kind)) for kind in Kind] == [1, 2, 2]


@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_wants_more_than_64_where_warm_up_says_how_many(name: str) -> None:
    policy = make_policy(ModelSettings(batch_policy=name, batch_size="auto", max_batch_delay=0))
    assert policy.decide(view(100, 0), now=1.0) == Send(0, 64)
