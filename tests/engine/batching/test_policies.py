"""The policies that there are, by their names, and what all of them must take."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.batching.views import lanes, view
from torchkeeper.config.model_settings import TABLE, ModelSettings
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policies import POLICIES, make_policy
from torchkeeper.engine.batching.policy import Arrived, Done, Event, Left, Lost, Send, Sent, View, WorkerView


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
    assert policy.admit("lane", 10**6, [WorkerView(0)], now=1.0) is None
    assert policy.decide(view(4, 0), now=1.0) == Send(0, 4)


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
