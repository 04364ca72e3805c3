"""The answer that comes in parts: one writer (the dispatcher), one reader (the client's request), bounded.

A reader that is slow makes the stream full; the dispatcher then reads no more from the worker, whose handler
waits in turn. So what lies here is bounded by FULL and the parts of one frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from torchkeeper.errors import TorchkeeperError
from torchkeeper.messages import Reply

#: Bytes that wait for the reader, beyond which nothing more is taken, and from which on it is taken again.
FULL = 1 << 20
ROOM = FULL // 4


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
        #: Called when there is room again, or when the stream is closed.
        self.on_room: Callable[[Stream], None] = lambda stream: None
        self._parts = deque([first])
        self._bytes = len(first.body)
        self._ended = False
        self._error: TorchkeeperError | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the reader has to catch up."""
        return self._bytes > FULL and not self.closed

    def put(self, part: Reply) -> None:
        """One more part."""
        self._parts.append(part)
        self._bytes += len(part.body)
        self._notify()

    def end(self, last: Reply) -> None:
        """The last part; an empty one adds nothing."""
        if last.body:
            self._parts.append(last)
        self._ended = True
        self._notify()

    def fail(self, error: TorchkeeperError) -> None:
        """There is no more, and what came is not the whole answer."""
        self._error = error
        self._notify()

    def close(self) -> None:
        """What waits is dropped; the reader is told."""
        self.closed = True
        self._parts.clear()
        self._notify()
        self.on_room(self)

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Reply:
        while not self.closed:
            if self._parts:
                part = self._parts.popleft()
                before, self._bytes = self._bytes, self._bytes - len(part.body)
                if before > ROOM >= self._bytes:
                    self.on_room(self)
                return part
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        raise Closed
