"""Who may share a batch, which decisions can be obeyed, and what is done in place of the others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batching.views import view
from torchkeeper.engine.batching.policy import (
    MOST_IN_HAND,
    LaneView,
    Send,
    View,
    WorkerView,
    first_come,
    lane_of,
    objection,
)
from torchkeeper.wire.messages import Input, Kind


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


WORKERS = st.lists(st.integers(0, MOST_IN_HAND)).map(
    lambda batches: [WorkerView(number, held) for number, held in enumerate(batches)]
)
VIEWS = st.builds(
    View,
    st.lists(
        st.builds(LaneView, st.sampled_from("abc"), st.integers(1, 9), st.floats(0, 9)),
        unique_by=lambda lane: lane.lane,
    ),
    WORKERS,
)


@given(VIEWS)
def test_the_first_who_came_can_always_be_obeyed(seen: View) -> None:
    found = first_come(seen)
    assert objection(found, seen, now=1.0) is None
    idle = [worker for worker in seen.workers if worker.batches == 0]
    assert (found is not None) is bool(idle and seen.lanes)


@given(VIEWS, st.integers(-1, 9), st.integers(-1, 9), st.sampled_from(["a", "b", "c", "d", None]))
def test_what_is_not_objected_to_can_be_done(
    seen: View, worker_id: int, count: int, lane: str | None
) -> None:
    said = objection(Send(worker_id, count, lane), seen, now=1.0)
    hands = [worker.batches for worker in seen.workers if worker.worker_id == worker_id]
    waits = [one.lane for one in seen.lanes]
    possible = hands not in ([], [MOST_IN_HAND]) and count >= 1 and (lane in waits if lane else bool(waits))
    assert (said is None) is possible
