"""What comes over a connection: bytes become heads and bodies by httptools' parser, within the limits.

Owns what is known of the newest request and of the bytes that it came in. Whose connection it is decides what
becomes of a request or a refusal. Source: RFC 9112.
"""

from __future__ import annotations

import time
from collections import deque

import httptools

from torchkeeper.errors import BadRequest, MethodNotAllowed, RequestTooLarge, TorchkeeperError
from torchkeeper.http.again import Again, again
from torchkeeper.http.course import Course, Phase, Step
from torchkeeper.http.exchange import Exchange, Wire
from torchkeeper.http.grammar import bad, check_version, ends_connection, find_line
from torchkeeper.http.guests import Guests
from torchkeeper.http.head import Head, Trailer
from torchkeeper.http.limits import EdgeLimits, HeaderFieldsTooLarge

# Looked up for every request, and members of an enum are slow to find.
_IDLE, _LAST_HEAD, _BODY, _WAITING = Phase.IDLE, Phase.LAST_HEAD, Phase.BODY, Phase.WAITING
_BEGIN, _HEAD, _PIECE, _WHOLE, _ASKED = Step.BEGIN, Step.HEAD, Step.PIECE, Step.WHOLE, Step.ASKED
#: How the request line ends that needs no closer look.
_LINE_END = b" HTTP/1.1\r\n"
#: So many of a connection's heads are kept as what the next one may be: who says another one each time is
#: not listened to for ever.
_TRIES = 8


class Incoming(Wire):
    """The receiving side of a connection."""

    def __init__(self, limits: EdgeLimits, guests: Guests) -> None:
        self._limits = limits
        self._guests = guests
        self._parser = httptools.HttpRequestParser(self)
        #: When the newest bytes came.
        self._now = time.monotonic()
        self._course = Course(limits, self._now)
        self._head = Head()
        #: The last head, if the next one may be the same, and how many more of them are kept.
        self._again: Again | None = None
        self._tries = _TRIES
        #: Bytes received of a head that is not complete, a bound on what may come.
        self._head_bytes = 0
        #: What is being parsed, with what came before it of the same head, and where in it the newest request
        #: line ends; 0: none has begun.
        self._raw = b""
        self._after = 0
        #: What of a head came without its end.
        self._rest = b""
        #: Whether the first half of an empty line may have come behind the last request.
        self._half_line = False
        #: Bytes that may still be thrown away.
        self._discard = limits.drain_bytes
        #: The first in line, if it is not answered yet because more of it may have come with its head.
        self._fresh: Exchange | None = None
        #: Requests without a whole answer, in their order; the first is being answered.
        self._line: deque[Exchange] = deque()

    # --- what the connection does ------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        """Has a request answered."""
        raise NotImplementedError

    def _refuse(self, error: TorchkeeperError) -> None:
        """Answers what cannot be taken, after all earlier answers."""
        raise NotImplementedError

    def _regulate(self) -> None:
        """Reads on, or not."""
        raise NotImplementedError

    def give_up(self, error: TorchkeeperError) -> None:
        """Refuses the request whose body is on its way."""
        raise NotImplementedError

    def _leave(self, phase: Phase) -> None:
        """Takes leave of the client."""
        raise NotImplementedError

    # --- bytes -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()
        phase = self._course.phase
        if phase is _IDLE and self._again is not None and not self._half_line:
            known = self._again.read(data)
            if known is not None:
                self._take_whole(*known)
                return
        if phase > _WAITING:
            self._throw_away(data)
            return
        if phase is _BODY:
            self._take_body(data)
        else:
            self._head_bytes += len(data)
            if self._rest:
                self._raw = self._rest + data
                self._rest = b""
            else:
                self._raw = data
                self._after = 0
                if self._half_line:
                    self._half_line = False
                    self._raw = data.removeprefix(b"\n")
            self._feed(data)
        if self._course.phase is not _WAITING or self._head_bytes:
            self._take_stock()
        elif data.endswith(b"\r"):
            self._half_line = True
        if phase is _IDLE and self._tries and self._raw is data and self._course.phase is _WAITING:
            self._tries -= 1
            self._again = again(data, self._head, self._limits)
        self._raw = b""
        if self._fresh is not None:
            self._start_fresh(self._fresh)

    def _take_whole(self, head: Head, body: bytes) -> None:
        """A request has come at once, whose head came before."""
        exchange = Exchange(self, head, since=self._now)
        exchange.whole(body)
        self._line.append(exchange)
        self._course.on(_ASKED, self._now)
        self._start(exchange)

    def _start_fresh(self, exchange: Exchange) -> None:
        self._fresh = None
        self._start(exchange)

    def _take_body(self, data: bytes) -> None:
        exchange = self._line[-1]
        before = exchange.size
        self._raw, self._after = data, 1
        self._feed(data)
        if self._course.phase is _BODY and self._line[-1] is exchange:
            exchange.around += len(data) - (exchange.size - before)
            limits = self._limits
            if exchange.around > limits.max_header_bytes + limits.chunk_overhead * exchange.chunks:
                self._refuse(BadRequest("The chunks have too many bytes around them."))
        else:
            self._guests.release(self)

    def _take_stock(self) -> None:
        """What has come ends within a request."""
        phase = self._course.phase
        if phase is _BODY:
            self._guests.hold(self, self._line[-1].size)
        elif phase <= _WAITING:
            if self._after:
                self._rest = self._raw[self._after - 1 :]
                self._after = 1
            else:
                self._rest = self._raw
            if self._head_bytes > self._limits.max_header_bytes:
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
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    data = memoryview(data)[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if self._course.phase is _BODY:
                    self._parser.feed_data(self._head.framing())
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, TorchkeeperError):
                self._refuse(cause)
            else:  # the parser's own words say what it expected
                self._refuse(bad(str(error) if cause is None else None))

    # --- httptools' callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head = Head()
        self._course.on(_BEGIN, self._now)

    def on_url(self, url: bytes) -> None:
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        head, value = self._head, value.rstrip(b" \t")  # the parser has taken the blanks before it
        head.fields.append((name, value))
        head.lowered.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        course = self._course
        if course.phase is _BODY:  # this only said how the body of an offered upgrade is framed
            return
        head, parser = self._head, self._parser
        head.method = parser.get_method()
        head.version = parser.get_http_version()
        end = 1 + len(head.method) + len(head.target)
        if self._after or not self._raw.startswith(_LINE_END, end):
            self._look_closer(head)
        else:
            self._after = end
        limits = self._limits
        if self._head_bytes > limits.max_header_bytes:
            self._measure(head)
        if len(head.fields) > limits.max_header_fields:
            raise self._too_many()
        self._head_bytes = 0
        head.upgrade = parser.should_upgrade()
        if head.method == b"CONNECT":  # asks for a tunnel, which nothing here is
            raise MethodNotAllowed(())
        if course.phase is _LAST_HEAD or not parser.should_keep_alive():
            head.close = True
        head.check()
        if head.length is not None and head.length > limits.max_body:
            raise RequestTooLarge(limits.max_body)
        exchange = Exchange(self, head, since=self._now)
        self._line.append(exchange)
        course.on(_HEAD, self._now)
        if len(self._line) == 1:
            self._fresh = exchange

    def _look_closer(self, head: Head) -> None:
        """The request is not the first in what came, or not HTTP/1.1, or its line is spelled otherwise."""
        self._after = find_line(self._raw, head.method, head.target, head.version, self._after)
        if head.version != "1.1":
            check_version(head.version)
            head.close = ends_connection(head.lowered)  # the parser lets keep-alive win
        self._measure(head)

    def _measure(self, head: Head) -> None:
        if head.size > self._limits.max_header_bytes:
            raise self._too_many()

    def on_chunk_header(self) -> None:
        exchange = self._line[-1]
        exchange.chunks += 1
        if exchange.chunks == 1:
            self._head = Trailer()
        elif exchange.chunks > self._limits.max_chunks:
            raise BadRequest(f"The body comes in more than {self._limits.max_chunks} chunks.")

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
        if self._fresh is not None:
            self._start_fresh(self._fresh)
