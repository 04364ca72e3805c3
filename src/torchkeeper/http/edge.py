"""HTTP/1.1 at the edge: an asyncio protocol on httptools' parser with an ASGI application behind it.

Owns a connection's bytes, timers and order of answers; httptools parses. It knows nothing of models. It
does what uvicorn's own protocol leaves open: reason phrases, names as given, limits that answer readably.
Source: RFC 9112; plugged in as uvicorn's `Config(http=...)`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import httptools

from torchkeeper.errors import BadRequest, MethodNotAllowed, RequestTooLarge, TorchkeeperError
from torchkeeper.http.cycle import Cycle
from torchkeeper.http.head import Head
from torchkeeper.http.limits import EdgeLimits, HeaderFieldsTooLarge, RequestTimeout

#: Client, method, target, version, status, milliseconds, x-request-id.
Access = Callable[[str, bytes, bytes, str, int, float, bytes], None]
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def edge_protocol(
    limits: EdgeLimits, on_access: Access | None = None, on_unasked: Callable[[int], None] | None = None
) -> type[asyncio.Protocol]:
    """The protocol class with these limits, to be handed to `uvicorn.Config(http=...)`.

    `on_unasked` is told the status of each answer that no application gave.
    """
    access, unasked = [on_access] if on_access else [], [on_unasked] if on_unasked else []
    return type("BoundEdge", (Edge,), {"limits": limits, "access": access, "unasked": unasked})


class Edge(asyncio.Protocol):
    """One connection."""

    limits: ClassVar[EdgeLimits]
    access: ClassVar[list[Access]]
    unasked: ClassVar[list[Callable[[int], None]]]

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self.app = config.loaded_app
        self.loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._state = server_state
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self.client = ("unix", 0)
        self._scheme = "http"
        #: The client as access logs name it; TorchServe's name for a client of a unix socket.
        self._peer = "127.0.0.1"
        #: Set while the client reads too slowly: what an answer waits for before it goes on.
        self.drained: asyncio.Event | None = None
        self._head = Head()
        #: Bytes received of a head that is not complete, a bound on what may come.
        self._head_bytes = 0
        self._cycles: deque[Cycle] = deque()
        self._receiving: Cycle | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closing = False
        self._stopping = False
        self._paused = False
        self._discard: int | None = None

    # --- transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) >= 2:
            self.client = (str(peer[0]), int(peer[1]))
            self._peer = f"{peer[0]}:{peer[1]}"
        self._state.connections.add(self)
        self._arm(self.limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._closing = True
        if self.drained is not None:
            self.drained.set()
        for cycle in self._cycles:
            cycle.disconnected()
        self._cycles.clear()

    def eof_received(self) -> bool:
        """A client that shut its sending side counts as gone: one that left looks no different."""
        return False

    def pause_writing(self) -> None:
        self.drained = asyncio.Event()
        self.regulate()
        self._arm(self.limits.write_timeout)

    def resume_writing(self) -> None:
        if self.drained is not None:
            self.drained.set()
            self.drained = None
            self._deadline = None
            self.regulate()

    def data_received(self, data: bytes) -> None:
        if self._discard is not None:
            self._discard -= len(data)
            if self._discard < 0:
                self.transport.close()
            return
        if self._closing:
            return
        if self._receiving is None:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            refusal = cause if isinstance(cause, TorchkeeperError) else BadRequest("Invalid HTTP message.")
            self._refuse(refusal)
        if self._receiving is None and self._head_bytes > self.limits.max_header_bytes and not self._closing:
            self._refuse(self._too_many())

    def _too_many(self) -> TorchkeeperError:
        limits = self.limits
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
        self._arm(self.limits.header_timeout)

    def on_url(self, url: bytes) -> None:
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        head = self._head
        head.fields.append((name, value))
        head.lowered.append((name.lower(), value))
        if len(head.fields) > self.limits.max_header_fields:
            raise self._too_many()

    def on_headers_complete(self) -> None:
        if self._receiving is not None:  # the framing of a body whose request came with an offer to upgrade
            return
        head, parser = self._head, self._parser
        head.method = parser.get_method()
        head.version = parser.get_http_version()
        head.begin = time.monotonic()
        self._head_bytes = 0
        head.upgrade = parser.should_upgrade()
        if head.method == b"CONNECT":  # asks for a tunnel, which nothing here is
            raise MethodNotAllowed(())
        head.close = not parser.should_keep_alive()
        head.close = head.close or self._stopping
        head.check()
        if head.length is not None and head.length > self.limits.max_body:
            raise RequestTooLarge(self.limits.max_body)
        cycle = self._receiving = Cycle(self, head)
        self._cycles.append(cycle)
        self._arm(self.limits.body_timeout)
        if len(self._cycles) == 1:
            self._start(cycle)

    def on_body(self, body: bytes) -> None:
        cycle = self._receiving
        if cycle is None:
            return
        if cycle.feed(body) > self.limits.max_body:
            raise RequestTooLarge(self.limits.max_body)
        self._arm(self.limits.body_timeout)
        if cycle.unread > self.limits.read_ahead:
            self.regulate()

    def on_message_complete(self) -> None:
        if self._head.upgrade:  # the body is still to come
            return
        cycle, self._receiving = self._receiving, None
        if cycle is not None:
            cycle.complete()
            self._deadline = None
            if len(self._cycles) > self.limits.max_pipelined:
                self.regulate()

    # --- cycles ------------------------------------------------------------------------------------------

    def _scope(self, cycle: Cycle) -> dict[str, Any]:
        head = cycle.head
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
            "client": self.client,
            "server": None,
            "extensions": {"torchkeeper": {"headers": head.fields, "on_gone": cycle.watch}},
        }

    def _start(self, cycle: Cycle) -> None:
        cycle.task = self.loop.create_task(cycle.run(self.app, self._scope(cycle)))
        self._state.tasks.add(cycle.task)

    def regulate(self) -> None:
        """Reads on, or not: not while bodies or requests pile up, nor from a client that does not read.

        A pause is the server's doing, so no timer for the client's bytes runs meanwhile.
        """
        limits, receiving = self.limits, self._receiving
        full = (
            self.drained is not None
            or len(self._cycles) > limits.max_pipelined
            or (receiving is not None and receiving.unread > limits.read_ahead)
        )
        if full == self._paused or self._closing or self.transport.is_closing():
            return
        self._paused = full
        if full:
            self.transport.pause_reading()
            self._deadline = None
        else:
            self.transport.resume_reading()
            if receiving is not None:
                self._arm(limits.body_timeout)

    def ended(self, cycle: Cycle) -> None:
        """The application is done with a cycle, whatever became of it."""
        self._state.tasks.discard(cycle.task)

    def finished(self, cycle: Cycle, status: int) -> None:
        """A cycle has sent its whole answer; the next one in line may go."""
        head = cycle.head
        if not self.transport.is_closing() or status:
            self._log(head, status, cycle.request_id)
        if self._cycles and self._cycles[0] is cycle:
            self._cycles.popleft()
        if cycle.close_after:
            self._close(unread=self._receiving is cycle)
        elif self._cycles:
            self._start(self._cycles[0])
            if self._paused:
                self.regulate()
        elif self._receiving is None and not self.transport.is_closing():
            self._arm(self.limits.idle_timeout)

    def _log(self, head: Head, status: int, request_id: bytes) -> None:
        ms = (time.monotonic() - head.begin) * 1000
        for access in self.access:
            access(self._peer, head.method, head.target, head.version, status, ms, request_id)

    def _refuse(self, error: TorchkeeperError) -> None:
        """Answers what cannot be taken, after all earlier answers, and closes."""
        self._closing = True
        self._deadline = None
        receiving, self._receiving = self._receiving, None
        self._begin_discard()
        if receiving is not None:
            receiving.refuse(error)
            return
        refused = Cycle(self, self._head, refusal=error)
        self._cycles.append(refused)
        if len(self._cycles) == 1:
            self._start(refused)

    def _begin_discard(self) -> None:
        self._discard = self.limits.drain_bytes

    def _close(self, *, unread: bool) -> None:
        """Closes, lingering if the client may still be sending (RFC 9112, section 9.6)."""
        self._closing = True
        if self.transport.is_closing():
            return
        if unread or self._discard is not None:
            if self._discard is None:
                self._begin_discard()
            self.transport.resume_reading()
            if self.transport.can_write_eof():  # TLS cannot
                self.transport.write_eof()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(self.limits.drain_seconds, self.transport.close)
            return
        if self.drained is not None:
            self._arm(self.limits.write_timeout)
        self.transport.close()

    # --- timers and shutdown -----------------------------------------------------------------------------

    def _arm(self, seconds: float) -> None:
        """Moves the deadline; the one timer looks at it when it fires, so moving costs next to nothing."""
        due = self._deadline = time.monotonic() + seconds
        if self._timer is None or due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self.loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - time.monotonic()
        if left > 0:
            self._arm(left)
        elif self.drained is not None:
            self.transport.abort()
        elif self._receiving is not None or self._head_bytes:
            self._refuse(RequestTimeout("The request was not sent in time."))
        elif not self._cycles:
            self.transport.close()

    def shutdown(self) -> float:
        """The server stops: the connection closes after its answer, or, if it is idle, when no request comes.

        Returns:
            the seconds that it waits for a request.
        """
        self._stopping = True
        if self._cycles:
            self._cycles[-1].close_after = True
            return 0.0
        if self._closing:
            return 0.0
        self._arm(self.limits.last_call)
        return self.limits.last_call
