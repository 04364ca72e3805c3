"""One request and its answer on a connection: the ASGI side of the edge.

Owns the body that waits to be read and the bytes of the answer; the connection owns everything else.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torchkeeper.errors import TorchkeeperError
from torchkeeper.http.head import AnswerHead, Framing, Head

if TYPE_CHECKING:
    from torchkeeper.http.edge import Edge

logger = logging.getLogger(__name__)


def error_response(
    error: TorchkeeperError, target: bytes = b""
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, header fields and body of an error that no application has seen; the path decides the body."""
    body = error.body(target)
    fields = [
        (b"content-type", b"application/json"),
        (b"x-request-id", str(uuid.uuid4()).encode()),
        (b"Pragma", b"no-cache"),
        (b"Cache-Control", b"no-cache; no-store, must-revalidate, private"),
        (b"Expires", b"Thu, 01 Jan 1970 00:00:00 UTC"),
        *((name.encode(), value.encode()) for name, value in error.headers.items()),
        (b"content-length", b"%d" % len(body)),
    ]
    return error.status, fields, body


class Cycle:
    """A request that is being received, answered, or waits for its turn."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_done",
        "_edge",
        "_expects",
        "_framing",
        "_gone",
        "_on_gone",
        "_pending",
        "_refusal",
        "_size",
        "_status",
        "_turned_away",
        "_wakeup",
        "close_after",
        "head",
        "request_id",
        "task",
        "unread",
    )

    def __init__(self, edge: Edge, head: Head, refusal: TorchkeeperError | None = None) -> None:
        self.head = head
        self.task: asyncio.Task[None] | None = None
        self.close_after = head.close or refusal is not None
        self._edge = edge
        self._refusal = refusal
        #: Its head was refused: no application hears of it.
        self._turned_away = refusal is not None
        self._chunks: list[bytes] = []
        self.unread = 0
        self._size = 0
        self._complete = refusal is not None
        self._gone = False
        self._wakeup: asyncio.Event | None = None
        self._on_gone: Callable[[], None] | None = None
        self._status = 0
        #: The answer's x-request-id, for the access log.
        self.request_id = b""
        self._pending = b""
        self._framing = Framing.NONE
        self._done = False
        self._expects = head.expects

    # --- fed by the connection ---------------------------------------------------------------------------

    def feed(self, body: bytes) -> int:
        """Takes a piece of the body; returns how much came so far."""
        self._chunks.append(body)
        self.unread += len(body)
        self._size += len(body)
        if self._wakeup is not None:
            self._wakeup.set()
        return self._size

    def complete(self) -> None:
        """The body has come to its end."""
        self._complete = True
        if self._wakeup is not None:
            self._wakeup.set()

    def refuse(self, error: TorchkeeperError) -> None:
        """The rest of the body is not taken; `error` is the answer, unless the application gives one."""
        self._refusal = error
        self.close_after = True
        self._wake()

    def disconnected(self) -> None:
        """The client is gone."""
        self._gone = True
        self._wake()
        if self._on_gone is not None and not self._done:
            self._on_gone()

    def watch(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when the client leaves before its answer is complete."""
        self._on_gone = callback
        if self._gone:
            callback()

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    # --- the ASGI application ----------------------------------------------------------------------------

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Lets the application answer; whatever it does, the client gets one answer or a closed line."""
        try:
            if not self._turned_away:
                await app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            self.close_after = True
        except Exception:
            logger.exception("the application failed")
        self._edge.ended(self)
        if self._gone:
            return
        if not self._status:
            self._answer(self._refusal or TorchkeeperError("Internal server error"))
        elif not self._done:
            self._edge.transport.abort()
            return
        self._edge.finished(self, self._status)

    def _answer(self, error: TorchkeeperError) -> None:
        status, fields, body = error_response(error, self.head.target)
        self._begin(status, None, fields)
        self._write(body, more=False)
        for told in self._edge.unasked:
            told(self._status)

    async def _receive(self) -> dict[str, Any]:
        if self._expects and not self._complete and not self._chunks and not self._status:
            self._expects = False
            self._edge.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._chunks or self._complete or self._gone or self._refusal):
            self._wakeup = asyncio.Event()
            await self._wakeup.wait()
        if self._gone or self._refusal is not None:
            return {"type": "http.disconnect", "refusal": self._refusal}
        if self._complete and not self._chunks and self._done:
            return {"type": "http.disconnect"}
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        full, self.unread = self.unread > self._edge.limits.read_ahead, 0
        if full:
            self._edge.regulate()
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("reason"), message["headers"])
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))
            if self._edge.drained is not None:
                await self._edge.drained.wait()

    # --- bytes -------------------------------------------------------------------------------------------

    def _begin(self, status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]]) -> None:
        answer = AnswerHead(self.head, status, reason, fields)
        self._status = answer.status
        self.request_id = answer.request_id
        self._framing = answer.framing
        # An answer to a body that nobody has read to its end is the connection's last one, and says so.
        if answer.status >= 400 or not self._complete or answer.framing is Framing.CLOSE:
            self.close_after = True
        self._pending = answer.bytes(close=self.close_after)

    def _write(self, body: bytes, *, more: bool) -> None:
        out = self._pending
        self._pending = b""
        if self._framing is Framing.CHUNKS:
            if body:
                out += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                out += b"0\r\n\r\n"
        elif self._framing is not Framing.NONE:
            out += body
        self._done = not more
        if not self._edge.transport.is_closing():
            self._edge.transport.write(out)
