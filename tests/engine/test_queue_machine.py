"""The queue beside a list that is searched from end to end: whatever is asked of both in whatever order.

Entries come, are taken, put back, expire, and their clients leave. Who is refused, what comes next and how
much waits is what the list says; each entry leaves once, and the policy hears of who left by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from torchkeeper.engine.admission import Full
from torchkeeper.engine.batching.policy import Lane
from torchkeeper.engine.queue import Entry, EntryQueue
from torchkeeper.wire.messages import Input, Kind

LANES = st.sampled_from("aab")
COUNTS = st.integers(0, 4)


@dataclass
class Bounds:
    """Entries that may wait, how many beyond, and the bytes of all."""

    limit: int
    beyond: int
    size: int


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        #: Those that wait, their clients too, and those that were taken.
        self.line: list[Entry] = []
        self.taken: list[Entry] = []
        #: Whose clients left while they waited, as the test and as the queue says.
        self.left = 0
        self.told: list[Lane] = []

    def waiting(self, which: Callable[[Entry], bool] = lambda entry: True) -> list[Entry]:
        """Those of whom the queue must know, oldest first."""
        return sorted((entry for entry in self.line if which(entry)), key=lambda entry: entry.arrived)

    def remove(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.line.remove(entry)

    # --- what is asked -----------------------------------------------------------------------------------

    @initialize(
        limit=st.integers(0, 9),
        beyond=st.integers(0, 2),
        size=st.integers(5, 60),
        cost=st.none() | st.integers(1, 20),
    )
    def begin(self, limit: int, beyond: int, size: int, cost: int | None) -> None:
        self.bounds = Bounds(limit, beyond, size)
        self.cost = cost
        self.queue = EntryQueue(limit, size, self.told.append, lambda: self.bounds.beyond, (4, cost))

    def affordable(self, entries: list[Entry]) -> list[Entry]:
        """As many of the first ones as may cost what a batch may, but one."""
        while self.cost is not None and len(entries) > 1 and sum(one.cost for one in entries) > self.cost:
            entries = entries[:-1]
        return entries

    @rule(lane=LANES, sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4))
    def put(self, lane: str, sizes: list[int]) -> None:
        for size in sizes:
            self.put_one(lane, size)

    def put_one(self, lane: str, size: int) -> None:
        self.now += 1
        entry = Entry(Input("", Kind.PREDICT, (), {}), self.loop.create_future(), self.now, size, lane)
        entry.cost = size
        count, bounds = len(self.line), self.bounds
        full = count >= bounds.limit + bounds.beyond
        heavy = count > 0 and sum(one.size for one in self.line) + size > bounds.size
        if full or heavy:
            with pytest.raises(Full, match="job_queue_size" if full else "job_queue_bytes"):
                self.queue.put(entry)
        else:
            self.queue.put(entry)
            self.line.append(entry)

    @rule(beyond=st.integers(0, 2))
    def workers_come_and_go(self, beyond: int) -> None:
        self.bounds.beyond = beyond

    @precondition(lambda self: bool(self.line))
    @rule(place=st.integers(0, 99))
    def leave(self, place: int) -> None:
        self.leaves(self.line[place % len(self.line)])

    def leaves(self, entry: Entry) -> None:
        entry.ticket.cancel()
        self.queue.left(entry.ticket)
        self.line.remove(entry)
        self.left += 1

    @rule(lane=LANES, limit=COUNTS, then_look=st.booleans())
    def take(self, lane: str, limit: int, then_look: bool) -> None:
        taken = self.queue.take(lane, limit)
        first = self.waiting(lambda entry: entry.lane == lane and not entry.retried)[:limit]
        assert taken == self.affordable(first)
        self.remove(taken)
        self.taken += taken
        if then_look:
            self.look()

    @rule()
    def take_again(self) -> None:
        again = self.waiting(lambda entry: entry.retried)
        assert self.queue.again == bool(again)
        if again:
            assert self.queue.take_again() is again[0]
            self.remove(again[:1])
            self.taken += again[:1]

    @precondition(lambda self: bool(self.taken))
    @rule(count=COUNTS, again=st.booleans(), leaves=st.booleans())
    def put_back(self, count: int, again: bool, leaves: bool) -> None:
        back, self.taken = self.taken[:count], self.taken[count:]
        for entry in back:
            if again:
                entry.begin_again(crashed=False)
        self.queue.put_back(back)
        self.line += back
        if back and leaves:
            self.leaves(back[0])

    @precondition(lambda self: bool(self.line))
    @rule(place=st.integers(0, 2))
    def expire(self, place: int) -> None:
        """Those that came before one of the oldest."""
        moment = self.waiting()[: place + 1][-1].arrived
        old = self.queue.older_than(moment)
        assert sorted(old, key=lambda entry: entry.arrived) == self.waiting()[:place][: len(self.line) - 1]
        self.remove(old)

    @rule(most=st.integers(0, 9))
    def drain_a_short_one(self, most: int) -> None:
        if len(self.line) <= most // 3:
            self.drain()

    def drain(self) -> None:
        drained = self.queue.drain()
        assert sorted(drained, key=lambda entry: entry.arrived) == self.waiting()
        assert len(self.queue) == 0
        self.line.clear()

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def it_knows_all_who_wait(self) -> None:
        if not hasattr(self, "queue"):
            return
        oldest = self.queue.oldest()
        assert (oldest is not None) >= bool(self.line)
        assert not self.line or oldest <= self.waiting()[0].arrived
        lanes = (self.queue._again, *self.queue._lanes.values())
        for lane in lanes:
            assert [entry.arrived for entry in lane] == sorted(entry.arrived for entry in lane)
        inside = [entry for lane in lanes for entry in lane]
        assert len(self.queue) == len(self.line)
        assert self.queue._bytes == sum(entry.size for entry in self.line)
        assert sorted(entry.arrived for entry in inside if not entry.gone) == [
            entry.arrived for entry in self.waiting()
        ]
        assert self.queue._left == sum(entry.gone for entry in inside)
        assert self.left == len(self.told)

    @rule()
    def look(self) -> None:
        """What a policy is shown: the lanes in which somebody waits, the one whose head is oldest first."""
        views = self.queue.lanes()
        first = {}
        for entry in self.waiting(lambda entry: not entry.retried):
            first.setdefault(entry.lane, entry.arrived)
        assert [(view.lane, view.oldest) for view in views] == list(first.items())
        for view in views:
            there = self.waiting(lambda entry, lane=view.lane: entry.lane == lane and not entry.retried)
            assert view.waiting >= len(there)

    def teardown(self) -> None:
        """At last nobody is left, and nothing is counted for nobody."""
        try:
            if hasattr(self, "queue"):
                self.drain()
                self.it_knows_all_who_wait()
        finally:
            self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
