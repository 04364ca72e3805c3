"""HTTP/1.1 at the edge: an asyncio protocol with an ASGI application behind it.

Owns a connection's transport, its timer and the order of its answers; `incoming` reads, and the course says
what may happen when. It knows nothing of models. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from torchkeeper.errors import ServiceUnavailable, TorchkeeperError
from torchkeeper.http.course import Phase, Step
from torchkeeper.http.exchange import Exchange, Unasked
from torchkeeper.http.guests import Guests
from torchkeeper.http.incoming import Incoming
from torchkeeper.http.limits import EdgeLimits, RequestTimeout

#: Client, method, target, version, status, milliseconds, x-request-id.
Access = Callable[[str, bytes, bytes, str, int, float, bytes], None]
#: Takes a whole request that needs no application, and answers it in time; whether it has taken it.
Shortcut = Callable[[Exchange], bool]
_ASGI = {"version": "3.0", "spec_version": "2.3"}
# Looked up for every request, and members of an enum are slow to find.
_LAST_HEAD, _BODY, _WAITING, _CLOSED = Phase.LAST_HEAD, Phase.BODY, Phase.WAITING, Phase.CLOSED
_ANSWERED = Step.ANSWERED


class Connection(Incoming, asyncio.Protocol):
    """One connection.

    Args:
        app: the ASGI application that answers.
        limits: what a client may do.
        guests: what it has in common with the listener's other connections.
        unasked: makes the answers that no application gives.
        access: writes an access line; None if nobody wants them.
        shortcut: is asked before the application is; None if there is none.
    """

    def __init__(
        self,
        app: Any,
        limits: EdgeLimits,
        guests: Guests,
        unasked: Unasked,
        access: Access | None = None,
        shortcut: Shortcut | None = None,
    ) -> None:
        super().__init__(limits, guests)
        self.unasked = unasked
        #: Set while the client reads too slowly: what an answer waits for before it goes on.
        self.drained: asyncio.Event | None = None
        self._app = app
        self._access = access
        self._shortcut = shortcut
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        #: Its host, and its port.
        self.client, self._port = "unix", 0
        self._host: str | None = None
        #: The client as access logs name it; TorchServe's name for a client of a unix socket.
        self._peer = "127.0.0.1"
        #: Bytes of answers that the client had not taken when the timer last looked.
        self._untaken = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) >= 2:
            self.client, self._port = str(peer[0]), int(peer[1])
            self._peer = f"{peer[0]}:{peer[1]}"
            self._host = self.client
        self._guests.connections.add(self)
        try:
            error = self._guests.enter(self._host)
        except ServiceUnavailable:
            self._transport.abort()
            return
        if error is not None:
            self._refuse(error)
        self._watch(self._now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._course.on(Step.LOST, time.monotonic())
        self._guests.leave(self._host)
        self._guests.release(self)
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
        self._guests.connections.discard(self)

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

    # --- exchanges ---------------------------------------------------------------------------------------

    @property
    def task(self) -> asyncio.Future[Any] | None:
        """What this connection's next answer waits for, if it owes one."""
        return self._line[0].task if self._line else None

    def _scope(self, exchange: Exchange) -> dict[str, Any]:
        head = exchange.head
        path, _, query = head.target.partition(b"?")
        secure = self._transport.get_extra_info("sslcontext") is not None
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "scheme": "https" if secure else "http",
            "method": head.method.decode("ascii"),
            "path": (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.lowered,
            "client": (self.client, self._port),
            "server": None,
            "extensions": {"torchkeeper": {"headers": head.fields, "on_gone": exchange.watch}},
        }

    def _start(self, exchange: Exchange) -> None:
        if self._shortcut is None or not self._shortcut(exchange):
            self.run(exchange, self._app)

    def run(self, exchange: Exchange, app: Any) -> None:
        """Has an application answer a request."""
        exchange.task = self._loop.create_task(exchange.run(app, self._scope(exchange)))

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
            head, ms = exchange.head, (now - exchange.since) * 1000
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

    def give_up(self, error: TorchkeeperError) -> None:
        self._refuse(error)

    def _turn_away(self, error: TorchkeeperError, receiving: bool) -> None:
        self._guests.release(self)
        if receiving:
            self._line[-1].refuse(error)
            return
        refused = Exchange(self, self._head, error, self._now)
        self._line.append(refused)
        if len(self._line) == 1:
            self._start(refused)

    # --- the course --------------------------------------------------------------------------------------

    def _leave(self, phase: Phase) -> None:
        """Takes leave of the client; one that may still be sending must read its answer (RFC 9112, 9.6)."""
        transport = self._transport
        self._guests.release(self)
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
        deadline = self._deadline()
        wait = course.glance if deadline is None else min(course.glance, deadline - now)
        self._timer = self._loop.call_later(wait, self._on_timer)

    def _deadline(self) -> float | None:
        if self._course.phase is not _BODY:
            return self._course.deadline
        newest = self._line[-1]
        return self._course.due(newest.since, newest.size)

    def _on_timer(self) -> None:
        course, now = self._course, time.monotonic()
        untaken, self._untaken = self._untaken, self._transport.get_write_buffer_size()
        if self._untaken < untaken:
            course.took(now)
        deadline = self._deadline()
        if deadline is None or deadline > now:
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
