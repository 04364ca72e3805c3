"""A proxy that spoils what passes through it, in one way at a time: what networks do to clients.

Some ways cost time only, and all answers must come whole; others break the connection in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable

#: Bytes that are passed on at a time.
_PIECE = 1 << 16

#: What becomes of a piece on its way to a writer; False: no more of it passes in this direction.
Toxic = Callable[[bytes, asyncio.StreamWriter, random.Random], Awaitable[bool]]


async def latency(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """Everything comes late."""
    await asyncio.sleep(0.05)
    writer.write(data)
    return True


async def jitter(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """Some of it comes late."""
    await asyncio.sleep(chance.choice((0, 0, 0.01, 0.1)))
    writer.write(data)
    return True


async def sliced(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """It comes in packets of a few bytes."""
    place = 0
    while place < len(data):
        size = chance.randint(1, 40)
        writer.write(data[place : place + size])
        await writer.drain()
        await asyncio.sleep(0)
        place += size
    return True


async def bandwidth(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """No more than 20 KB in a second."""
    for place in range(0, len(data), 400):
        writer.write(data[place : place + 400])
        await writer.drain()
        await asyncio.sleep(0.02)
    return True


async def dropped(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """A part passes, and then nothing more, without a word to either side."""
    writer.write(data[: chance.randrange(len(data))])
    return False


async def half_close(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """A part passes, and then this direction ends."""
    writer.write(data[: chance.randrange(len(data))])
    writer.write_eof()
    return False


async def reset(data: bytes, writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    """A part passes, and then the connection is reset."""
    writer.write(data[: chance.randrange(len(data))])
    reset_now(writer)
    return False


#: Those that cost time, and those that break connections.
SLOW: tuple[Toxic, ...] = (latency, jitter, sliced, bandwidth)
TORN: tuple[Toxic, ...] = (dropped, half_close, reset)


def reset_now(writer: asyncio.StreamWriter) -> None:
    """Ends a connection by a reset."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """Stands before a port of this machine; a context manager.

    Args:
        to: the port.
        toxic: what it does.
        chance: the source of chance.
        both: whether answers pass through it as well as requests.
    """

    def __init__(self, to: int, toxic: Toxic, chance: random.Random, *, both: bool = True) -> None:
        self._to = to
        self._toxic = toxic
        self._chance = chance
        self._both = both
        self._open: set[asyncio.Task[None]] = set()
        #: Pieces that were spoilt.
        self.spoilt = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        with contextlib.suppress(
            asyncio.CancelledError
        ):  # the proxy goes, and this is all that there is to it
            await asyncio.gather(self._pass(reader, back, True), self._pass(there, writer, self._both))
        self._open.discard(task)
        for side in (writer, back):
            side.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxic: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_PIECE):
                if not toxic:
                    writer.write(data)
                else:
                    self.spoilt += 1
                    if not await self._toxic(data, writer, self._chance):
                        await reader.read(-1)  # until that side has had enough
                        break
                await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
