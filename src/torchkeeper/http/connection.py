"""HTTP/1.1 at the edge: an asyncio protocol on httptools' parser with an ASGI application behind it.

Owns a connection's bytes, its timer and the order of its answers; httptools parses, and the course says what
may happen when. It knows nothing of models. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from torchkeeper.errors import BadRequest, MethodNotAllowed, RequestTooLarge, TorchkeeperError
from torchkeeper.http.course import Course, Phase, Step
from torchkeeper.http.exchange import Exchange, Unasked
from torchkeeper.http.head import Head
from torchkeeper.http.limits import EdgeLimits, HeaderFieldsTooLarge, RequestTimeout

#: Client, method, target, version, status, milliseconds, x-request-id.
Access = Callable[[str, bytes, bytes, str, int, float, bytes], None]
_ASGI = {"version": "3.0", "spec_version": "2.3"}
# Looked up for every request, and members of an enum are slow to find.
_LAST_HEAD, _BODY, _WAITING, _CLOSED = Phase.LAST_HEAD, Phase.BODY, Phase.WAITING, Phase.CLOSED
_BEGIN, _HEAD, _PIECE, _WHOLE, _ANSWERED = Step.BEGIN, Step.HEAD, Step.PIECE, Step.WHOLE, Step.ANSWERED


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        app: the ASGI application that answers.
        limits: what a client may do.
        connections: those that are open or still have an application at work; this one enters and leaves it.
        unasked: makes the answers that no application gives.
        access: writes an access line; None if nobody wants them.
    """

    def __init__(
        self,
        app: Any,
        limits: EdgeLimits,
        connections: set[Connection],
        unasked: Unasked,
        access: Access | None = None,
    ) -> None:
        self.unasked = unasked
        #: Set while the client reads too slowly: what an answer waits for before it goes on.
        self.drained: asyncio.Event | None = None
        self._app = app
        self._limits = limits
        self._connections = connections
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._client = ("unix", 0)
        self._scheme = "http"
        #: The client as access logs name it; TorchServe's name for a client of a unix socket.
        self._peer = "127.0.0.1"
        #: When the newest bytes came.
        self._now = time.monotonic()
        self._course = Course(limits, self._now)
        self._head = Head()
        #: Bytes received of a head that is not complete, a bound on what may come.
        self._head_bytes = 0
        #: Bytes that may still be thrown away.
        self._discard = limits.drain_bytes
        #: Requests without a whole answer, in their order; the first is being answered.
        self._line: deque[Exchange] = deque()
        #: Bytes of answers that the client had not taken when the timer last looked.
        self._untaken = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) >= 2:
            self._client = (str(peer[0]), int(peer[1]))
            self._peer = f"{peer[0]}:{peer[1]}"
        self._connections.add(self)
        self._watch(self._now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._course.on(Step.LOST, time.monotonic())
        if self._timer is not None:
            self._timer.cancel()
        if self.drained is not None:
            self.drained.set()
        line = list(self._line)
        if self.task is None:
            self._forget()
        for exchange in line:
            exchange.disconnected()

    def _forget(self) -> None:
        self._line.clear()
        self._connections.discard(self)

    def eof_received(self) -> bool:
        """A client that shut its sending side counts as gone: one that left looks no different."""
        return False

    def pause_writing(self) -> None:
        self.drained = asyncio.Event()
        self._untaken = self._transport.get_write_buffer_size()
        self._course.block(time.monotonic(), True)
        self._regulate()

    def resume_writing(self) -> None:
        if self.drained is not None:
            self.drained.set()
            self.drained = None
            self._course.block(time.monotonic(), False)
            self._regulate()

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()
        phase = self._course.phase
        if phase > _WAITING:
            self._throw_away(data)
            return
        if phase is not _BODY:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(
                cause if isinstance(cause, TorchkeeperError) else BadRequest("Invalid HTTP message.")
            )
        if self._head_bytes > self._limits.max_header_bytes and self._course.phase <= _WAITING:
            self._refuse(self._too_many())

    def _throw_away(self, data: bytes) -> None:
        self._discard -= len(data)
        if self._discard < 0 and self._course.phase < Phase.CLOSING:
            self._leave(self._course.on(Step.FLOODED, self._now))

    def _too_many(self) -> TorchkeeperError:
        limits = self._limits
        return HeaderFieldsTooLarge(
            f"The request's header has more than {limits.max_header_bytes} bytes"
            f" or {limits.max_header_fields} fields."
        )

    def _feed(self, data: bytes | memoryview) -> None:
        """Feeds the parser; an offered upgrade (Java's `Upgrade: h2c`) is but an offer, and is not taken.

        The parser stops behind such a header, as if another protocol began there. Another one goes on: it is
        told how the body is framed, and gets the same bytes.
        """
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            framing = self._head.framing()
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(framing)

    # --- httptools' callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head = Head()
        self._course.on(_BEGIN, self._now)

    def on_url(self, url: bytes) -> None:
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        head = self._head
        head.fields.append((name, value))
        head.lowered.append((name.lower(), value))
        if len(head.fields) > self._limits.max_header_fields:
            raise self._too_many()

    def on_headers_complete(self) -> None:
        course = self._course
        if course.phase is _BODY:  # this only said how the body of an offered upgrade is framed
            return
        head, parser = self._head, self._parser
        head.method = parser.get_method()
        head.version = parser.get_http_version()
        head.begin = self._now
        self._head_bytes = 0
        head.upgrade = parser.should_upgrade()
        if head.method == b"CONNECT":  # asks for a tunnel, which nothing here is
            raise MethodNotAllowed(())
        head.close = course.phase is _LAST_HEAD or not parser.should_keep_alive()
        head.check()
        if head.length is not None and head.length > self._limits.max_body:
            raise RequestTooLarge(self._limits.max_body)
        exchange = Exchange(self, head)
        self._line.append(exchange)
        course.on(_HEAD, self._now)
        if len(self._line) == 1:
            self._start(exchange)

    def on_body(self, body: bytes) -> None:
        exchange = self._line[-1]
        if exchange.feed(body) > self._limits.max_body:
            raise RequestTooLarge(self._limits.max_body)
        self._course.on(_PIECE, self._now)
        if exchange.unread > self._limits.read_ahead:
            self._regulate()

    def on_message_complete(self) -> None:
        if self._head.upgrade:  # the body is still to come
            return
        self._line[-1].complete()
        self._course.on(_WHOLE, self._now)
        if len(self._line) > self._limits.max_pipelined:
            self._regulate()

    # --- exchanges ---------------------------------------------------------------------------------------

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The application at work for this connection, if one is."""
        return self._line[0].task if self._line else None

    def _scope(self, exchange: Exchange) -> dict[str, Any]:
        head = exchange.head
        path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "scheme": self._scheme,
            "method": head.method.decode("ascii"),
            "path": (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.lowered,
            "client": self._client,
            "server": None,
            "extensions": {"torchkeeper": {"headers": head.fields, "on_gone": exchange.watch}},
        }

    def _start(self, exchange: Exchange) -> None:
        exchange.task = self._loop.create_task(exchange.run(self._app, self._scope(exchange)))

    def write(self, data: bytes) -> None:
        """Sends bytes, if there still is somebody to send them to."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def taken(self) -> None:
        """The body that had come so far was taken by the application."""
        if self._course.held:
            self._regulate()

    def finished(self, exchange: Exchange, *, whole: bool) -> None:
        """An application is done, and the next request in line may go; a torn answer ends the connection."""
        line, course = self._line, self._course
        if course.phase is _CLOSED:
            self._forget()
            return
        now = time.monotonic()
        line.popleft()
        if not whole:
            self._leave(course.on(Step.LOST, now))
            return
        if self._access is not None:
            head, ms = exchange.head, (now - exchange.head.begin) * 1000
            request_id = exchange.request_id
            self._access(self._peer, head.method, head.target, head.version, exchange.status, ms, request_id)
        if exchange.last:
            self._leave(course.on(Step.LAST, now))
        elif line:
            self._start(line[0])
            if course.held:
                self._regulate()
        elif course.phase is _WAITING:
            course.on(_ANSWERED, now)

    def _refuse(self, error: TorchkeeperError) -> None:
        """Answers what cannot be taken, after all earlier answers."""
        receiving = self._course.phase is _BODY
        self._course.on(Step.REFUSE, self._now)
        self._turn_away(error, receiving)

    def _turn_away(self, error: TorchkeeperError, receiving: bool) -> None:
        if receiving:
            self._line[-1].refuse(error)
            return
        refused = Exchange(self, self._head, error)
        self._line.append(refused)
        if len(self._line) == 1:
            self._start(refused)

    # --- the course --------------------------------------------------------------------------------------

    def _leave(self, phase: Phase) -> None:
        """Takes leave of the client; one that may still be sending must read its answer (RFC 9112, 9.6)."""
        transport = self._transport
        if phase is Phase.CLOSED:
            transport.abort()
        elif phase is Phase.CLOSING:
            transport.close()
        elif not transport.is_closing():
            transport.resume_reading()
            if transport.can_write_eof():  # TLS cannot
                transport.write_eof()
        self._watch(time.monotonic())

    def _regulate(self) -> None:
        """Reads on, or not: not while bodies or requests pile up, nor from a client that does not read."""
        course, limits, line = self._course, self._limits, self._line
        unread = line[-1].unread if line and course.phase is _BODY else 0
        course.fill(time.monotonic(), len(line) > limits.max_pipelined or unread > limits.read_ahead)
        transport, reads = self._transport, course.reads
        if course.phase > _WAITING or transport.is_closing() or transport.is_reading() is reads:
            return
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _watch(self, now: float) -> None:
        """Has the timer look at the deadline; while requests come and go, it does so now and then."""
        course = self._course
        if self._timer is not None:
            self._timer.cancel()
        deadline = course.deadline
        wait = course.glance if deadline is None else min(course.glance, deadline - now)
        self._timer = self._loop.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        course, now = self._course, time.monotonic()
        untaken, self._untaken = self._untaken, self._transport.get_write_buffer_size()
        if self._untaken < untaken:
            course.took(now)
        if course.deadline is None or course.deadline > now:
            self._watch(now)
            return
        receiving = course.phase is _BODY
        phase = course.expire(now)
        if phase is Phase.REFUSED:
            self._turn_away(RequestTimeout("The request was not sent in time."), receiving)
            self._watch(now)
        else:
            self._leave(phase)

    def shutdown(self) -> float:
        """The server stops: the connection closes after its answer, or, if it is idle, when no request comes.

        Returns:
            the seconds that it waits for a request.
        """
        if self._line:
            self._line[-1].last = True
            return 0.0
        now = time.monotonic()
        phase = self._course.on(Step.STOP, now)
        self._watch(now)
        return self._limits.last_call if phase <= _LAST_HEAD else 0.0
