"""One keep-alive connection to the server: bytes of a request out, its answer in; a request at a time.

Small, because it competes with the server for the machine's processors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools

#: Whom an answer is told: its status and body; status 0 and a reason where the connection was lost.
Heard = Callable[["Asker", int, bytes], None]


@dataclass(frozen=True)
class Socket:
    """Where a listener is."""

    host: str
    port: int


def request(method: str, target: str, body: bytes = b"", content_type: str | None = None) -> bytes:
    """The bytes of a request.

    Raises:
        ValueError: the target or the content type cannot stand in one.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    if not all(line.isprintable() and line.isascii() for line in lines) or " " in target:
        raise ValueError(f"{target!r} or {content_type!r} has characters that no request may have")
    return "\r\n".join((*lines, "", "")).encode() + body


class Asker(asyncio.Protocol):
    """A connection; `told` is called with each answer, from within the event loop."""

    def __init__(self, told: Heard) -> None:
        self._told = told
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self.waiting = False
        #: The caller's own: which request it is that was sent, and when.
        self.sample = 0
        self.since = 0.0

    @classmethod
    async def to(cls, place: Socket, told: Heard) -> Asker:
        """A new connection.

        Raises:
            OSError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: cls(told), place.host, place.port)
        return made

    def send(self, data: bytes) -> None:
        """Sends a request; the one before must have been answered."""
        self.waiting = True
        if self._transport is None or self._transport.is_closing():
            self._end(0, b"the connection was closed")
        else:
            self._transport.write(data)

    def close(self) -> None:
        """No more requests; whatever still comes is nobody's."""
        self.waiting = False
        if self._transport is not None:
            self._transport.abort()

    def _end(self, status: int, body: bytes) -> None:
        if self.waiting:
            self.waiting = False
            self._told(self, status, body)

    # --- asyncio's and httptools' calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's inherits from nothing
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(0, f"what came is no HTTP: {error}".encode())
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self._transport = None
        self._end(0, f"the connection was lost: {exc or 'closed by the server'}".encode())

    def on_message_begin(self) -> None:
        """httptools'."""
        self._body = []

    def on_body(self, body: bytes) -> None:
        """httptools'."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """httptools'."""
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer
            return
        self._end(status, b"".join(self._body))


async def ask(place: Socket, data: bytes, seconds: float) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own.

    Raises:
        OSError: nobody listens there, or the answer did not come.
    """
    done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def told(_: Asker, status: int, body: bytes) -> None:
        if not done.done():
            done.set_result((status, body))

    asker = await Asker.to(place, told)
    try:
        asker.send(data)
        status, body = await asyncio.wait_for(done, seconds)
    finally:
        asker.close()
    if status == 0:
        raise OSError(body.decode(errors="replace"))
    return status, body
