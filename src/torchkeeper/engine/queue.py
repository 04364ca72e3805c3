"""The waiting requests of one model version. The dispatcher is its only owner; nobody else touches it.

Bounded by count, by bytes and, where the model asks for it, by age. What may share a batch waits in one lane,
which the batching policy names; order of arrival is kept within a lane. What is sent again waits apart: it
goes first, and alone.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from torchkeeper.engine.admission import Full
from torchkeeper.engine.batching.fitting import fitting
from torchkeeper.engine.batching.policy import Lane, LaneView
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import TorchkeeperError
from torchkeeper.wire.messages import Input, Reply

#: So many whose clients have left may stay in line although they are more than those who wait.
FEW = 16


class Entry(msgspec.Struct, eq=False):
    """A request in the queue: the payload that travels on, and the ticket that stays."""

    input: Input
    #: Resolves with a Reply; with a Stream where parts were asked for and have begun to come.
    ticket: asyncio.Future[Any]
    arrived: float
    size: int
    #: What it has in common with the requests that may be in one batch with it.
    lane: Lane
    #: Whether it was in the hands of a worker that died; such a request is sent again once, alone.
    retried: bool = False
    #: Whether that worker died of what it computed.
    crashed: bool = False
    #: Whether the request's URL named the model's version.
    named: bool = False
    #: Whether the parts of a streamed answer are wanted one by one; else they are joined.
    in_parts: bool = False
    stream: Stream | None = None
    #: Parts that wait to be joined, and their bytes.
    parts: list[Reply] = []
    joined: int = 0
    #: What it costs in a batch, where the costs of batches are bounded.
    cost: float = 0

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.ticket.done() if self.stream is None else self.stream.closed

    def add(self, part: Reply) -> None:
        """A part of the answer, which is not the last one."""
        if not self.in_parts:
            self.parts.append(part)
            self.joined += len(part.body)
        elif self.stream is None:
            self.stream = Stream(part)
            self.ticket.set_result(self.stream)
        else:
            self.stream.put(part)

    def empty(self) -> None:
        """It will not be sent: nobody needs what its client has sent."""
        self.input = msgspec.structs.replace(self.input, parts=())

    def begin_again(self, *, crashed: bool) -> None:
        """It will be sent again, for its worker died; `crashed`: of what it computed."""
        self.retried, self.crashed = True, crashed
        self.parts, self.joined = [], 0

    def answer(self, reply: Reply) -> None:
        """The answer, or its last part."""
        if self.stream is not None:
            self.stream.end(reply)
        elif self.parts:
            bodies = [part.body for part in (*self.parts, reply)]
            self.ticket.set_result(msgspec.structs.replace(self.parts[0], body=b"".join(bodies)))
        else:
            self.ticket.set_result(reply)

    def fail(self, error: TorchkeeperError) -> None:
        """There is no answer, or no more of it."""
        if self.stream is not None:
            self.stream.fail(error)
        elif not self.ticket.done():
            self.ticket.set_exception(error)


def size_of(request: Input) -> int:
    """Bytes that a request's parameters hold: values, and what clients have called them."""
    size = 0
    for part in request.parts:
        size += len(part.name) + part.size + len(part.content_type or "")
    return size


class EntryQueue:
    """Entries that wait for a worker.

    Args:
        limit: how many may wait.
        max_bytes: how many bytes of payload they may have.
        beyond: how many more may wait, asked only where there is no room; it may take from the queue itself.
        on_left: told the lane of each entry that is dropped because its client has left.
        bound: entries that a batch may have, and what they may cost if it has several; None: no matter.
    """

    def __init__(
        self,
        limit: int,
        max_bytes: int,
        on_left: Callable[[Lane], None] = lambda lane: None,
        beyond: Callable[[], int] = lambda: 0,
        bound: tuple[int, float | None] = (sys.maxsize, None),
    ) -> None:
        self.limit = limit
        self._most, self._max_cost = bound
        self._beyond = beyond
        self._max_bytes = max_bytes
        self._on_left = on_left
        #: None of them empty. Who has left stays in line until its place is reached, or there are many such.
        self._lanes: dict[Lane, deque[Entry]] = {}
        self._again: deque[Entry] = deque()
        #: Those that wait, by their tickets, without those known to have left; and their bytes.
        self._waiting: dict[asyncio.Future[Any], Entry] = {}
        self._bytes = 0
        #: How many stay in line although it is known that they left.
        self._left = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, entry: Entry) -> None:
        """Takes an entry at the end of its lane.

        Raises:
            Full: count or bytes would pass their bound.
        """
        waiting = self._waiting
        if len(waiting) >= self.limit or self._bytes + entry.size > self._max_bytes:
            if self._beyond() <= len(waiting) - self.limit:
                raise Full(f"{len(waiting)} requests wait already (job_queue_size)")
            if waiting and self._bytes + entry.size > self._max_bytes:
                raise Full(f"the waiting requests hold {self._bytes} bytes already (job_queue_bytes)")
        self._lane(entry).append(entry)
        waiting[entry.ticket] = entry
        self._bytes += entry.size

    def left(self, ticket: asyncio.Future[Any]) -> None:
        """A client has left; nothing happens if its request does not wait."""
        entry = self._waiting.get(ticket)
        if entry is None:
            return
        self._remove(entry)
        self._on_left(entry.lane)
        entry.empty()
        self._left += 1
        if self._left > max(len(self._waiting), FEW):
            self._drop_gone()

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Returns entries that were taken but not served to their places in line; no bound applies."""
        for entry in entries:
            lane = self._again if entry.retried else self._lane(entry)
            later = (place for place, other in enumerate(lane) if other.arrived > entry.arrived)
            lane.insert(next(later, len(lane)), entry)
            self._waiting[entry.ticket] = entry
            self._bytes += entry.size

    def lanes(self) -> list[LaneView]:
        """The lanes in which somebody waits, the one whose head waits longest first.

        Clients that left may be among those that wait behind a head.
        """
        if not self._lanes:
            return []
        views, most = [], sys.maxsize
        for key in tuple(self._lanes):
            lane = self._lanes[key]
            self._drop_heads(lane)
            if lane:
                if self._max_cost is not None:
                    most = self._fitting(lane, self._max_cost, self._most)
                views.append(LaneView(key, len(lane), lane[0].arrived, most))
            else:
                del self._lanes[key]
        if len(views) > 1:
            views.sort(key=lambda view: view.oldest)
        return views

    def oldest(self) -> float | None:
        """When the entry arrived that has waited longest; None when none waits."""
        moments = [lane[0].arrived for lane in (self._again, *self._lanes.values()) if lane]
        return min(moments, default=None)

    def take(self, lane: Lane, limit: int) -> list[Entry]:
        """Up to `limit` entries of a lane, in their order; as many as their costs allow, but at least one."""
        waiting = self._lanes.get(lane)
        if waiting and self._max_cost is not None:
            limit = min(limit, self._fitting(waiting, self._max_cost, limit))
        taken: list[Entry] = []
        while waiting and len(taken) < limit:
            entry = waiting.popleft()
            if entry.gone:
                self._drop(entry)
            else:
                self._remove(entry)
                taken.append(entry)
        if waiting is not None and not waiting:
            del self._lanes[lane]
        return taken

    @property
    def again(self) -> bool:
        """Whether an entry waits to be sent again."""
        self._drop_heads(self._again)
        return bool(self._again)

    def take_again(self) -> Entry:
        """The entry that is sent again next; `again` tells whether there is one."""
        entry = self._again.popleft()
        self._remove(entry)
        return entry

    def drain(self) -> list[Entry]:
        """All entries whose clients wait; the queue is empty afterwards."""
        entries = [entry for lane in (self._again, *self._lanes.values()) for entry in lane]
        self._again.clear()
        self._lanes.clear()
        return self._living(entries)

    def older_than(self, moment: float) -> list[Entry]:
        """Removes the entries that arrived before `moment`, those to be sent again too; returns who waits."""
        old: list[Entry] = []
        for lane in (self._again, *self._lanes.values()):
            while lane and lane[0].arrived < moment:
                old.append(lane.popleft())
        self._drop_empty()
        return self._living(old)

    @staticmethod
    def _fitting(lane: Iterable[Entry], max_cost: float, most: int) -> int:
        """Entries that a batch of a lane may have, as `LaneView.most`."""
        return fitting((entry.cost for entry in lane if not entry.gone), most, max_cost)

    def _lane(self, entry: Entry) -> deque[Entry]:
        lane = self._lanes.get(entry.lane)
        if lane is None:
            lane = self._lanes[entry.lane] = deque()
        return lane

    def _remove(self, entry: Entry) -> None:
        del self._waiting[entry.ticket]
        self._bytes -= entry.size

    def _drop(self, entry: Entry) -> None:
        """An entry whose client has left is out of line; the queue may not have been told of it."""
        if entry.ticket in self._waiting:
            self._remove(entry)
            self._on_left(entry.lane)
        else:
            self._left -= 1

    def _living(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of some that are out of line whose clients wait."""
        living = []
        for entry in entries:
            if entry.gone:
                self._drop(entry)
            else:
                self._remove(entry)
                living.append(entry)
        return living

    def _drop_heads(self, lane: deque[Entry]) -> None:
        while lane and lane[0].gone:
            self._drop(lane.popleft())

    def _drop_gone(self) -> None:
        for lane in (*self._lanes.values(), self._again):
            entries = list(lane)
            lane.clear()
            for entry in entries:
                if entry.gone:
                    self._drop(entry)
                else:
                    lane.append(entry)
        self._drop_empty()

    def _drop_empty(self) -> None:
        for key in [key for key, lane in self._lanes.items() if not lane]:
            del self._lanes[key]
