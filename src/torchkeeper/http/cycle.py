"""One request and its answer on a connection: the ASGI side of the edge.

Owns the body that waits to be read and the bytes of the answer; the connection owns everything else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from torchkeeper.errors import BadRequest, TorchkeeperError

if TYPE_CHECKING:
    from torchkeeper.http.edge import Edge

logger = logging.getLogger(__name__)

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_FORBIDDEN = (b"\r", b"\n", b"\0")
_KEEP_ALIVE = b"connection: keep-alive\r\n\r\n"
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


class Head:
    """What came before a body: request line and header fields, as given and with lower-case names."""

    __slots__ = ("begin", "close", "expects", "fields", "length", "lowered", "method", "target", "version")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = "1.1"
        self.fields: list[tuple[bytes, bytes]] = []
        self.lowered: list[tuple[bytes, bytes]] = []
        self.close = False
        self.begin = 0.0
        #: What `check` finds: the announced length of the body, and whether it waits for a 100.
        self.length: int | None = None
        self.expects = False

    def check(self) -> None:
        """Reads what the connection must know of the fields.

        Raises:
            BadRequest: not exactly one Host in HTTP/1.1.
        """
        hosts = 0
        for name, value in self.lowered:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"expect":
                self.expects = self.version == "1.1" and value.lower() == b"100-continue"
        if hosts != 1 and self.version == "1.1":
            raise BadRequest(
                "Invalid HTTP message.", cause=f"a request needs exactly one Host field, not {hosts}"
            )


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
        (b"content-length", b"%d" % len(body)),
    ]
    return error.status, fields, body


class Cycle:
    """A request that is being received, answered, or waits for its turn."""

    __slots__ = (
        "_chunked",
        "_chunks",
        "_complete",
        "_done",
        "_edge",
        "_expects",
        "_gone",
        "_on_gone",
        "_pending",
        "_refusal",
        "_size",
        "_status",
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
        self._chunked = False
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
        """The rest of the body will not come: a disconnect for the application, `error` for the client."""
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
            if self._refusal is None:
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

    async def _receive(self) -> dict[str, Any]:
        if self._expects and not self._complete and not self._chunks and not self._status:
            self._expects = False
            self._edge.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._chunks or self._complete or self._gone or self._refusal):
            self._wakeup = asyncio.Event()
            await self._wakeup.wait()
        if self._gone or self._refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete and not self._chunks and self._done:
            return {"type": "http.disconnect"}
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        full, self.unread = self.unread > self._edge.limits.read_ahead, 0
        if full:
            self._edge.regulate()
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone or self._refusal is not None:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("reason"), message["headers"])
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))
            if self._edge.drained is not None:
                await self._edge.drained.wait()

    # --- bytes -------------------------------------------------------------------------------------------

    def _begin(self, status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        # An answer to a body that nobody has read to its end is the connection's last one, and says so.
        if status >= 400 or not self._complete:
            self.close_after = True
        lines = [_status_line(status, reason)]
        sized = False
        for name, value in fields:
            lines.append(b"%b: %b\r\n" % (name, value))
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                sized = True
            elif size == 12 and name.lower() == b"x-request-id":
                self.request_id = value
        if not sized:
            self._chunked = self.head.version == "1.1"
            self.close_after = self.close_after or not self._chunked
            if self._chunked:
                lines.append(_CHUNKED)
        block = b"".join(lines)
        if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines) or b"\0" in block:
            block = b"".join(line for line in lines if _is_one_line(line))
        self._pending = block + (_CLOSE if self.close_after else _KEEP_ALIVE)

    def _write(self, body: bytes, *, more: bool) -> None:
        out = self._pending
        self._pending = b""
        if self.head.method == b"HEAD":
            pass
        elif self._chunked:
            if body:
                out += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                out += b"0\r\n\r\n"
        else:
            out += body
        self._done = not more
        if not self._edge.transport.is_closing():
            self._edge.transport.write(out)


@functools.lru_cache(maxsize=256)
def _status_line(status: int, reason: bytes | None) -> bytes:
    """The answer's first line; a phrase cannot break out of it."""
    reason = _REASONS.get(status, b"") if reason is None else reason
    for bad in _FORBIDDEN:
        reason = reason.replace(bad, b" ")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def _is_one_line(line: bytes) -> bool:
    """Whether a header line ends where it should; one that does not is left out, and that is logged."""
    content = line[:-2]
    fine = not any(bad in content for bad in _FORBIDDEN)
    if not fine:
        logger.error("a header field with a line break in it is left out: %r", content.partition(b":")[0])
    return fine
