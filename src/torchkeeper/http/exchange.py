"""One request and its answer on a connection: the ASGI side of the edge.

Owns the body that waits to be read and the bytes of the answer; the connection owns everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from torchkeeper.errors import ServiceUnavailable, TorchkeeperError
from torchkeeper.http.head import AnswerHead, Field, Framing, Head, plain_head

logger = logging.getLogger(__name__)

# Looked up for every answer, and members of an enum are slow to find.
_NO_BODY, _CHUNKS, _LENGTH = Framing.NONE, Framing.CHUNKS, Framing.LENGTH


#: Bytes of a body that is sent as it is, and not in one piece with what goes before.
_LARGE = 64 * 1024

#: Status, header fields and body.
Answer = tuple[int, list[Field], bytes]
#: Makes the answer to an error that no application has seen, to a request for this target.
Unasked = Callable[[TorchkeeperError, bytes], Answer]


class Wire(Protocol):
    """What an exchange needs of its connection."""

    #: Set while the client reads too slowly: what an answer waits for before it goes on.
    drained: asyncio.Event | None
    unasked: Unasked
    #: The client's host.
    client: str

    def write(self, data: bytes) -> None:
        """Sends bytes, if there still is somebody to send them to."""

    def taken(self) -> None:
        """The body that had come so far was taken by the application."""

    def run(self, exchange: Exchange, app: Any) -> None:
        """Has an application answer a request."""

    def finished(self, exchange: Exchange, *, whole: bool) -> None:
        """The application is done; `whole`: the client has its answer, or is gone."""


class Exchange:
    """A request that is being received, answered, or waits for its turn.

    Args:
        wire: the connection.
        head: the request's.
        refusal: why the head was refused; no application hears of it then.
        since: when it came, in seconds of a monotonic clock.
    """

    __slots__ = (
        "_asked",
        "_chunks",
        "_complete",
        "_done",
        "_expects",
        "_framing",
        "_gone",
        "_on_gone",
        "_pending",
        "_refusal",
        "_wakeup",
        "_wire",
        "around",
        "chunks",
        "head",
        "last",
        "request_id",
        "since",
        "size",
        "status",
        "task",
        "unread",
    )

    def __init__(
        self, wire: Wire, head: Head, refusal: TorchkeeperError | None = None, since: float = 0.0
    ) -> None:
        self.head = head
        self.since = since
        #: What its answer waits for.
        self.task: asyncio.Future[Any] | None = None
        #: Whether the connection closes behind the answer.
        self.last = head.close or refusal is not None
        #: Bytes of the body that the application has not read.
        self.unread = 0
        #: Bytes of the body that have come, its chunks, and the bytes around those.
        self.size = 0
        self.chunks = 0
        self.around = 0
        #: The answer's status, 0 before it begins, and its x-request-id, for the access log.
        self.status = 0
        self.request_id = b""
        self._wire = wire
        self._asked = refusal is None
        self._refusal = refusal
        self._chunks: list[bytes] = []
        self._complete = refusal is not None
        self._expects = head.expects
        self._gone = False
        self._wakeup: asyncio.Event | None = None
        self._on_gone: Callable[[], None] | None = None
        self._pending = b""
        self._framing = _NO_BODY
        self._done = False

    # --- fed by the connection ---------------------------------------------------------------------------

    def feed(self, body: bytes) -> int:
        """Takes a piece of the body; returns how much came so far."""
        self._expects = False  # the client waits no more
        self._chunks.append(body)
        self.unread += len(body)
        self.size += len(body)
        if self._wakeup is not None:
            self._wakeup.set()
        return self.size

    def whole(self, body: bytes) -> None:
        """All of the body has come at once."""
        self._chunks = [body]
        self.unread = self.size = len(body)
        self._complete = True

    def complete(self) -> None:
        """The body has come to its end."""
        self._complete = True
        if self._wakeup is not None:
            self._wakeup.set()

    def refuse(self, error: TorchkeeperError) -> None:
        """The rest of the body is not taken; `error` is the answer, unless the application gives one."""
        self._refusal = error
        self._chunks.clear()
        self.last = True
        if self._wakeup is not None:
            self._wakeup.set()

    def disconnected(self) -> None:
        """The client is gone."""
        self._gone = True
        if self._wakeup is not None:
            self._wakeup.set()
        if self._on_gone is not None and not self._done:
            self._on_gone()

    def watch(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when the client leaves before its answer is complete."""
        self._on_gone = callback
        if self._gone:
            callback()

    # --- without an application --------------------------------------------------------------------------

    @property
    def client(self) -> str:
        """The client's host."""
        return self._wire.client

    @property
    def body(self) -> bytes | None:
        """The body, if all of it has come in one piece and nothing is the matter with it."""
        if not self._complete or len(self._chunks) != 1 or self._gone or self._refusal is not None:
            return None
        return self._chunks[0]

    def begin(self, ticket: asyncio.Future[Any], on_gone: Callable[[], None]) -> None:
        """Somebody has taken the body, and will call `reply` or `go_on` when the ticket is done.

        `on_gone` is called when the client leaves before.
        """
        self.task = ticket
        self._on_gone = on_gone
        self.take()

    def take(self) -> None:
        """Somebody has taken the body, as far as it has come."""
        self._chunks = []
        if self.unread:
            self.unread = 0
            self._wire.taken()

    def reply(self, status: int, reason: bytes | None, fields: list[Field], body: bytes) -> None:
        """The whole answer."""
        if not self._gone:
            self._begin(status, reason, fields)
            self._write(body, more=False)
        self._replied()

    def reply_plainly(self, request_id: bytes, fields: tuple[Field, ...], body: bytes) -> None:
        """The whole answer with status 200 and these fields, the request's id and the body's length."""
        if self.last or self._gone:
            said = [(b"x-request-id", request_id), *fields, (b"content-length", b"%d" % len(body))]
            self.reply(200, None, said, body)
            return
        self.status, self.request_id = 200, request_id
        self._framing = _LENGTH
        self._pending = plain_head(request_id, fields, len(body))
        self._write(body, more=False)
        self._replied()

    def _replied(self) -> None:
        drained = self._wire.drained
        if drained is None or self._gone:
            self._wire.finished(self, whole=True)
        else:
            self.task = asyncio.get_running_loop().create_task(self._finish(drained))

    async def _finish(self, drained: asyncio.Event) -> None:
        try:
            await drained.wait()
        finally:
            self._wire.finished(self, whole=True)

    def go_on(self, app: Any) -> None:
        """An application is to answer after all."""
        self._wire.run(self, app)

    # --- the ASGI application ----------------------------------------------------------------------------

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Lets the application answer; whatever it does, the client gets one answer or a closed line."""
        try:
            if self._asked:
                if self._refusal is not None:  # its body was refused before its turn came
                    scope["refusal"] = self._refusal
                await app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            self.last = True
            self._refusal = self._refusal or ServiceUnavailable("The server is ending.")
        except Exception:
            logger.exception("the application failed")
        if not self.status and not self._gone:
            self._answer(self._refusal or TorchkeeperError("Internal server error"))
        self._refusal = None  # its traceback leads back here, and to the body
        self._wire.finished(self, whole=self._done or self._gone)

    def _answer(self, error: TorchkeeperError) -> None:
        status, fields, body = self._wire.unasked(error, self.head.target)
        self._begin(status, None, fields)
        self._write(body, more=False)

    async def _receive(self) -> dict[str, Any]:
        if self._expects and not self._complete and not self.status:
            self._expects = False
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._chunks or self._complete or self._gone or self._refusal):
            self._wakeup = asyncio.Event()
            await self._wakeup.wait()
        if self._gone or self._refusal is not None:
            return {"type": "http.disconnect", "refusal": self._refusal}
        if self._complete and not self._chunks and self._done:
            return {"type": "http.disconnect"}
        body = self._piece()
        if body:
            self.unread -= len(body)
            self._wire.taken()
        more = not self._complete or bool(self._chunks)
        return {"type": "http.request", "body": body, "more_body": more}

    def _piece(self) -> bytes:
        """What there is of the body: a large piece as it came, small ones together."""
        if len(self._chunks) > 1 and len(self._chunks[0]) >= _LARGE:
            return self._chunks.pop(0)
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        return body

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("reason"), message["headers"])
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))
            if self._wire.drained is not None:
                await self._wire.drained.wait()

    # --- bytes -------------------------------------------------------------------------------------------

    def _begin(self, status: int, reason: bytes | None, fields: list[Field]) -> None:
        # An answer to a body that nobody has read to its end is the connection's last one, and says so.
        answer = AnswerHead(self.head, status, reason, fields, close=self.last or not self._complete)
        self.status = answer.status
        self.request_id = answer.request_id
        self.last = answer.close
        self._framing = answer.framing
        self._pending = answer.block

    def _write(self, body: bytes, *, more: bool) -> None:
        out = self._pending
        self._pending = b""
        if self._framing is _CHUNKS:
            if body:
                out += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                out += b"0\r\n\r\n"
        elif self._framing is not _NO_BODY:
            if len(body) >= _LARGE:  # a call more costs less than a copy
                self._wire.write(out)
                out = body
            else:
                out += body
        self._done = not more
        self._wire.write(out)
