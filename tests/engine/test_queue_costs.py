"""Costs and lanes in the queue, whatever comes: what a batch costs, and how often one can be overtaken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.queue import Entry, EntryQueue
from torchkeeper.wire.messages import Input, Kind

REQUEST = Input("", Kind.PREDICT, (), {})
#: Costs of requests, in the order in which they come.
COSTS = st.lists(st.integers(0, 12) | st.floats(0, 12), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Line:
    """A queue of requests by their numbers, which are also when they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, max_cost: float | None) -> None:
        self.loop = loop
        self.queue = EntryQueue(10_000, 10_000, bound=(most, max_cost))
        self.most = most
        self.came: list[Entry] = []

    def put(self, cost: float = 0, lane: str = "lane") -> Entry:
        entry = Entry(REQUEST, self.loop.create_future(), len(self.came), 1, lane)
        entry.cost = cost
        self.came.append(entry)
        self.queue.put(entry)
        return entry

    def leave(self, entry: Entry) -> None:
        entry.ticket.cancel()
        self.queue.left(entry.ticket)

    def take(self) -> list[Entry]:
        """What all policies send: up to a full batch of the lane whose head waits longest."""
        return self.queue.take(self.queue.lanes()[0].lane, self.most)

    def fits(self) -> int:
        """What a policy sees of the first lane."""
        return self.queue.lanes()[0].most


@pytest.mark.parametrize(
    ("costs", "batches"),
    [
        ([1, 1, 1, 1, 1], [[1, 1, 1, 1], [1]]),
        ([2, 2, 2], [[2, 2], [2]]),
        ([3, 2, 1], [[3], [2, 1]]),
        ([1, 9, 1], [[1], [9], [1]]),
        ([9, 0], [[9], [0]]),
        ([0, 4, 0, 0, 0, 0], [[0, 4, 0, 0], [0, 0]]),
        ([0.5, 3.5, 0.5], [[0.5, 3.5], [0.5]]),
    ],
)
def test_a_batch_costs_four_at_most_and_has_four_at_most(
    costs: list[float],
    batches: list[list[float]],
    loop: asyncio.AbstractEventLoop,
) -> None:
    line = Line(loop, 4, 4)
    for cost in costs:
        line.put(cost)
    assert [[entry.cost for entry in line.take()] for _ in batches] == batches
    assert len(line.queue) == 0


@pytest.mark.parametrize(
    ("costs", "most"),
    [
        ([1], 4),
        ([1, 1], 4),
        ([2], 2),
        ([3], 1),
        ([4], 1),
        ([9], 1),
        ([1, 3], 2),
        ([1, 2], 2),
        ([1, 4], 1),
        ([1, 1, 9, 1], 2),
        ([0, 0], sys.maxsize),
        ([0] * 9, sys.maxsize),
        ([0.1, 0.1], 40),
        ([1e-9], 1 + 99),
    ],
)
def test_a_policy_sees_how_many_fit_and_how_many_more_of_their_mean_would(
    costs: list[float],
    most: int,
    loop: asyncio.AbstractEventLoop,
) -> None:
    line = Line(loop, 99, 4)
    for cost in costs:
        line.put(cost)
    assert line.fits() == most
    line = Line(loop, 8, None)
    line.put(9)
    assert line.fits() == sys.maxsize, "nothing is bounded"


def test_who_has_left_costs_nothing(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, 8, 4)
    first, heavy, last = line.put(2), line.put(4), line.put(2)
    line.leave(heavy)
    assert line.fits() == 2
    assert line.take() == [first, last]
    gone = line.put(1)
    gone.ticket.cancel()  # and nobody has said so yet
    assert line.queue.take("lane", 8) == []
    assert len(line.queue) == 0


@given(COSTS, st.integers(1, 6), st.integers(1, 12) | st.floats(0.5, 12), st.sets(st.integers(0, 29)))
def test_batches_cost_no_more_than_they_may_and_nobody_is_overtaken_in_a_lane(
    loop: asyncio.AbstractEventLoop,
    costs: Sequence[float],
    most: int,
    max_cost: float,
    leaving: set[int],
) -> None:
    line = Line(loop, most, max_cost)
    for cost in costs:
        line.put(cost)
    for number in leaving & set(range(len(costs))):
        line.leave(line.came[number])
    taken: list[Entry] = []
    while line.queue.lanes():
        (view,), batch = line.queue.lanes(), line.take()
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(entry.cost for entry in batch) <= max_cost
        assert len(batch) <= view.most, "a policy was not told too little"
        waits = next((entry for lane in line.queue._lanes.values() for entry in lane if not entry.gone), None)
        if waits is not None and len(batch) < most:
            assert len(batch) == view.most
            assert sum(entry.cost for entry in (*batch, waits)) > max_cost, "as many went as could"
        taken += batch
    assert taken == [entry for number, entry in enumerate(line.came) if number not in leaving]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 9)) | st.none(), min_size=1, max_size=60),
    st.integers(1, 5),
    st.none() | st.integers(1, 9),
)
def test_a_request_is_overtaken_only_so_often(
    loop: asyncio.AbstractEventLoop,
    happenings: list[tuple[str, int] | None],
    most: int,
    max_cost: float | None,
) -> None:
    """Each batch that goes before it has one at its head that was there before it; the others overtake it."""
    line = Line(loop, most, max_cost)
    ahead: dict[int, int] = {}
    overtaken: dict[int, int] = {}
    batches: dict[int, int] = {}

    def take() -> None:
        batch = line.take()
        for number in [number for number, _ in enumerate(line.came) if number in ahead]:
            entry = line.came[number]
            if entry in batch:
                assert overtaken[number] <= ahead[number] * (most - 1)
                assert batches[number] <= ahead[number]
                del ahead[number]
            else:
                overtaken[number] += sum(other.arrived > entry.arrived for other in batch)
                batches[number] += 1

    for happening in [*happenings, *[None] * len(happenings)]:
        if happening is not None:
            number = len(line.came)
            ahead[number], overtaken[number], batches[number] = len(line.queue), 0, 0
            line.put(happening[1], happening[0])
        elif len(line.queue):
            take()
    assert not ahead, "everybody was taken"
