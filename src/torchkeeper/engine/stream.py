"""The answer that comes in parts: one writer (the dispatcher), one reader (the client's request), bounded.

A reader that is slow makes the stream full. Once all streams of a batch are full, nothing more is read from
the worker, whose handler waits in turn; while others keep up, a full stream takes more until it is overfull
(`in_hand` says what becomes of it then). So what lies here is bounded by OVERFULL and the parts of a frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from torchkeeper.errors import TorchkeeperError
from torchkeeper.wire.messages import Reply

#: Bytes that wait for the reader, beyond which a stream is full, and from which on it is not any more.
FULL = 1 << 20
ROOM = FULL // 4
#: Bytes beyond which it is overfull, until it has come down to FULL.
OVERFULL = 4 * FULL


class Closed(Exception):
    """Nobody wants the rest of this stream."""


class Stream:
    """Parts of one answer, in their order: `async for part in stream`.

    Status and headers are those of the first part.

    Raises (while reading):
        TorchkeeperError: the answer failed after its first part.
        Closed: the stream was closed, by its reader or for being read too slowly.
    """

    def __init__(self, first: Reply) -> None:
        self.first = first
        self.closed = False
        #: Whether the reader is behind, and whether it is so far behind that nobody can go on without it.
        self.full = False
        self.overfull = False
        #: Called when the stream is no longer overfull, no longer full, or closed.
        self.on_room: Callable[[], None] = lambda: None
        self._parts: deque[Reply] = deque()
        self._bytes = 0
        self._ended = False
        self._error: TorchkeeperError | None = None
        self._wake: asyncio.Future[None] | None = None
        self.put(first)

    def put(self, part: Reply) -> None:
        """One more part."""
        self._parts.append(part)
        self._bytes += len(part.body)
        if self._bytes > FULL:
            self.full = True
            self.overfull = self.overfull or self._bytes > OVERFULL
        self._notify()

    def end(self, last: Reply) -> None:
        """The last part; an empty one adds nothing."""
        self._ended = True
        if last.body:
            self.put(last)
        else:
            self._notify()

    def fail(self, error: TorchkeeperError) -> None:
        """There is no more, and what came is not the whole answer."""
        self._error = error
        self._notify()

    def close(self) -> None:
        """What waits is dropped; the reader is told."""
        self.closed = True
        self.full = self.overfull = False
        self._parts.clear()
        self._notify()
        self.on_room()

    def _make_room(self) -> None:
        before = self.full, self.overfull
        self.full = self._bytes > ROOM
        self.overfull = self.overfull and self._bytes > FULL
        if before != (self.full, self.overfull):
            self.on_room()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Reply:
        while not self.closed:
            if self._parts:
                part = self._parts.popleft()
                self._bytes -= len(part.body)
                if self.full:
                    self._make_room()
                return part
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        raise Closed
