"""The waiting requests of one model version. The dispatcher is its only owner; nobody else touches it.

Bounded by count, by bytes and, where the model asks for it, by age. What may share a batch (one kind, one
envelope) waits in one lane; order of arrival is kept within a lane, and the lane whose head waits longest
goes next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from torchkeeper.engine.stream import Stream
from torchkeeper.errors import TorchkeeperError
from torchkeeper.messages import Input, Kind, Reply

#: Bytes of payload that may wait per model version: a bound on memory, far above what a full queue holds
#: at usual request sizes.
MAX_BYTES = 1 << 30


_Lane = tuple[Kind, str | None]


class Entry(msgspec.Struct, eq=False):
    """A request in the queue: the payload that travels on, and the ticket that stays."""

    input: Input
    #: Resolves with a Reply; with a Stream where parts were asked for and have begun to come.
    ticket: asyncio.Future[Any]
    arrived: float
    size: int
    #: Whether it was in the hands of a worker that died; such a request is sent again once, alone.
    retried: bool = False
    #: Whether the request's URL named the model's version.
    named: bool = False
    #: Whether the parts of a streamed answer are wanted one by one; else they are joined.
    in_parts: bool = False
    stream: Stream | None = None
    #: Parts that wait to be joined, and their bytes.
    parts: list[Reply] = []
    joined: int = 0

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


class Full(Exception):
    """The queue takes no more; the text says which bound was met."""


class EntryQueue:
    """Entries that wait for a worker."""

    def __init__(self, limit: int, max_bytes: int = MAX_BYTES) -> None:
        self.limit = limit
        self._max_bytes = max_bytes
        self._lanes: dict[_Lane, deque[Entry]] = {}
        self._again: deque[Entry] = deque()
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def put(self, entry: Entry) -> None:
        """Takes an entry at the end of its lane.

        Raises:
            Full: count or bytes would pass their bound.
        """
        if self._count >= self.limit:
            self._drop_gone()
        if self._count >= self.limit:
            raise Full(f"{self._count} requests wait already (job_queue_size)")
        if self._count and self._bytes + entry.size > self._max_bytes:
            raise Full(f"the waiting requests hold {self._bytes} bytes already")
        self._lane(entry).append(entry)
        self._count += 1
        self._bytes += entry.size

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Returns entries that were taken but not served to their places in line; no bound applies."""
        for entry in entries:
            lane = self._again if entry.retried else self._lane(entry)
            later = (place for place, other in enumerate(lane) if other.arrived > entry.arrived)
            lane.insert(next(later, len(lane)), entry)
            self._count += 1
            self._bytes += entry.size

    def head(self) -> Entry | None:
        """The entry that goes next; entries whose clients left are dropped on the way."""
        best: Entry | None = None
        for lane in (self._again, *self._lanes.values()):
            while lane and lane[0].ticket.done():
                self._remove(lane.popleft())
            if not lane:
                continue
            if lane is self._again:
                return lane[0]
            if best is None or lane[0].arrived < best.arrived:
                best = lane[0]
        return best

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` entries of the head's lane; a description, and what is sent again, come alone."""
        head = self.head()
        if head is None:
            return []
        if head.retried:
            self._remove(self._again.popleft())
            return [head]
        lane = self._lane(head)
        if head.input.kind is Kind.DESCRIBE:
            limit = 1
        taken: list[Entry] = []
        while lane and len(taken) < limit:
            entry = lane.popleft()
            self._remove(entry)
            if not entry.gone:
                taken.append(entry)
        return taken

    def ready(self, head: Entry) -> int:
        """How many entries could go with the head in one batch (clients that left may be among them)."""
        return 1 if head.retried or head.input.kind is Kind.DESCRIBE else len(self._lane(head))

    def drain(self) -> list[Entry]:
        """All entries, oldest lane first; the queue is empty afterwards."""
        entries: list[Entry] = []
        while taken := self.take(self._count or 1):
            entries.extend(taken)
        return entries

    def older_than(self, moment: float) -> list[Entry]:
        """Removes and returns the entries that arrived before `moment`."""
        old: list[Entry] = []
        for lane in self._lanes.values():
            while lane and lane[0].arrived < moment:
                entry = lane.popleft()
                self._remove(entry)
                old.append(entry)
        return old

    def _lane(self, entry: Entry) -> deque[Entry]:
        """Where entries wait that can share a batch with this one."""
        key = (entry.input.kind, entry.input.envelope)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        return lane

    def _remove(self, entry: Entry) -> None:
        self._count -= 1
        self._bytes -= entry.size

    def _drop_gone(self) -> None:
        for lane in (*self._lanes.values(), self._again):
            kept = [entry for entry in lane if not entry.gone]
            for entry in lane:
                if entry.gone:
                    self._remove(entry)
            lane.clear()
            lane.extend(kept)
