"""One request and its answer on a connection: the ASGI side of the edge.

Owns the body that waits to be read and the bytes of the answer; the connection owns everything else.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from torchkeeper.errors import BadRequest, TorchkeeperError

if TYPE_CHECKING:
    from torchkeeper.http.edge import Edge

logger = logging.getLogger(__name__)

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_FORBIDDEN = (b"\r", b"\n", b"\0")


@dataclass(slots=True)
class Head:
    """What came before a body: request line and header fields as given."""

    method: bytes = b""
    target: bytes = b""
    version: str = "1.1"
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    close: bool = False
    begin: float = 0.0
    #: Bytes received for this head so far, a bound on what may come.
    size: int = 0

    def check(self) -> int | None:
        """The announced length of the body, if one is.

        Raises:
            BadRequest: not exactly one Host in HTTP/1.1, or an unreadable length.
        """
        hosts = 0
        length = None
        for name, value in self.fields:
            lowered = name.lower()
            if lowered == b"host":
                hosts += 1
            elif lowered == b"content-length":
                length = int(value)
        if self.version == "1.1" and hosts != 1:
            raise BadRequest(
                "Invalid HTTP message.", cause=f"a request needs exactly one Host field, not {hosts}"
            )
        return length

    def has(self, name: bytes, value: bytes) -> bool:
        """Whether a field of this (lower-case) name has this value, in any case."""
        return any(field.lower() == name and given.lower() == value for field, given in self.fields)


def error_response(error: TorchkeeperError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, header fields and body of an error that no application has seen."""
    body = error.body()
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

    def __init__(
        self, edge: Edge, head: Head, scope: dict[str, Any], refusal: TorchkeeperError | None = None
    ) -> None:
        self.head = head
        self.started = False
        self.close_after = head.close or refusal is not None
        self._edge = edge
        self._scope = scope
        self._refusal = refusal
        self._chunks: list[bytes] = []
        self.unread = 0
        self._size = 0
        self._complete = refusal is not None
        self._gone = False
        self._wakeup: asyncio.Event | None = None
        self._on_gone: Callable[[], None] | None = None
        self._status = 0
        self._pending: bytes | None = None
        self._chunked = False
        self._done = False
        if scope:
            scope["extensions"]["torchkeeper"]["on_gone"] = self._watch
        self._expects = head.version == "1.1" and head.has(b"expect", b"100-continue")

    # --- fed by the connection ---------------------------------------------------------------------------

    def feed(self, body: bytes) -> int:
        """Takes a piece of the body; returns how much came so far."""
        self._chunks.append(body)
        self.unread += len(body)
        self._size += len(body)
        self._wake()
        return self._size

    def complete(self) -> None:
        """The body has come to its end."""
        self._complete = True
        self._wake()

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

    def _watch(self, callback: Callable[[], None]) -> None:
        self._on_gone = callback
        if self._gone:
            callback()

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    # --- the ASGI application ----------------------------------------------------------------------------

    async def run(self, app: Any) -> None:
        """Lets the application answer; whatever it does, the client gets one answer or a closed line."""
        self.started = True
        try:
            if self._refusal is None:
                await app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            self.close_after = True
        except Exception:
            logger.exception("the application failed")
        if self._gone:
            return
        if self._refusal is not None and not self._status:
            self._answer(self._refusal)
        elif not self._status:
            self._answer(TorchkeeperError("Internal server error"))
        elif not self._done:
            self._edge.transport.abort()
            return
        if not self._complete:
            self.close_after = True
        self._edge.finished(self, self._status)

    def _answer(self, error: TorchkeeperError) -> None:
        status, fields, body = error_response(error)
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
        if self.unread > self._edge.limits.read_ahead:
            self._edge.resume_reading()
        self.unread = 0
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone or self._refusal is not None:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("reason"), message["headers"])
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))
            await self._edge.drain()

    # --- bytes -------------------------------------------------------------------------------------------

    def _begin(self, status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        if status >= 400:
            self.close_after = True
        reason = _REASONS.get(status, b"") if reason is None else reason
        for bad in _FORBIDDEN:
            reason = reason.replace(bad, b" ")
        lines = [b"HTTP/1.1 %d %s" % (status, reason)]
        sized = False
        for name, value in fields:
            if any(bad in name or bad in value for bad in _FORBIDDEN):
                logger.error("a header field with a line break in it is left out: %r", name)
                continue
            sized = sized or name.lower() == b"content-length"
            lines.append(name + b": " + value)
        if not sized and self.head.version == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        elif not sized:
            self.close_after = True
        lines.append(b"connection: close" if self.close_after else b"connection: keep-alive")
        self._pending = b"\r\n".join(lines) + b"\r\n\r\n"

    def _write(self, body: bytes, *, more: bool) -> None:
        out = self._pending or b""
        self._pending = None
        if self.head.method != b"HEAD":
            if self._chunked:
                if body:
                    out += b"%x\r\n%s\r\n" % (len(body), body)
                if not more:
                    out += b"0\r\n\r\n"
            else:
                out += body
        self._done = not more
        if not self._edge.transport.is_closing():
            self._edge.transport.write(out)
