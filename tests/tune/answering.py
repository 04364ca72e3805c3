"""A small server of the test's own, on a real socket, that leaves no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from torchkeeper.tune.asker import Socket

#: The bytes that a request's body is answered with; None: the connection is closed.
Answerer = Callable[[bytes], Awaitable[bytes | None]]


@asynccontextmanager
async def answering(answer: Answerer) -> AsyncIterator[Socket]:
    """A server whose requests have a content-length."""
    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meetings.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if (said := await answer(await reader.readexactly(length))) is None:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield Socket(*server.sockets[0].getsockname()[:2])
        for task in meetings:
            task.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)
