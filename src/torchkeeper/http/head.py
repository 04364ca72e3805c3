"""What comes before a body: a request's head as the connection reads it, and the bytes of an answer's. Pure.

Whatever an application says, what leaves here is the head of an HTTP/1.1 answer and says rightly how its body
ends. Source: RFC 9110 (sections 5.5, 6.4.1, 8.6, 15), RFC 9112 (sections 4 to 6); what cannot be said follows
Netty, in which TorchServe answers: no body and no length with a 204, length 0 with a 205.
"""

from __future__ import annotations

import enum
import functools
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from torchkeeper.http.grammar import bad, check_coding, check_host, origin_form

logger = logging.getLogger(__name__)

Field = tuple[bytes, bytes]

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_END = b"\r\n\r\n"
_KEEP_ALIVE = b"connection: keep-alive" + _END
_CLOSE = b"connection: close" + _END
_PLAIN = b"HTTP/1.1 200 OK\r\nx-request-id: "
#: The statuses whose answers have no body, and what there is instead of a length.
_EMPTY: dict[int, tuple[bytes, ...]] = {204: (), 205: (b"content-length: 0",)}
_NO_BODY = frozenset({*_EMPTY, 304})
_LEFT_OUT = "the header field %r is none and is left out"
_SLASH = ord("/")
#: Names of a request's fields that mean something to the connection.
_MEANT = frozenset({b"host", b"content-length", b"expect", b"transfer-encoding"})
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: What may stand in a field's value or a phrase: no control characters but the tab.
_TEXT = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))
_BLANKED = bytes(byte if byte in _TEXT else 32 for byte in range(256))


class Head:
    """What came before a body: request line and header fields, as given and with lower-case names."""

    __slots__ = (
        *("_text", "close", "expects", "fields", "length", "lowered", "method", "seen", "target"),
        *("upgrade", "version"),
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = "1.1"
        self.fields: list[tuple[bytes, bytes]] = []
        self.lowered: list[tuple[bytes, bytes]] = []
        self.close = False
        #: Whether the client offers another protocol.
        self.upgrade = False
        #: What `check` finds: the announced length of the body, and whether it waits for a 100.
        self.length: int | None = None
        self.expects = False
        #: What was found in it by who answers: kept for heads that differ in their length alone.
        self.seen: Any = None
        self._text: dict[str, str] | None = None

    @property
    def text(self) -> dict[str, str]:
        """The fields as text, names as given; the last of one name wins. Not to be changed."""
        if self._text is not None:
            return self._text
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.fields}

    def keep(self) -> None:
        """The head will come again: its text is kept."""
        self._text = self.text

    def with_length(self, length: bytes, place: int) -> Head:
        """The head with another length of the body, which is the field at `place`."""
        made = Head()
        made.method, made.target, made.seen = self.method, self.target, self.seen
        made.length = int(length)
        made.fields, made.lowered, made._text = self.fields.copy(), self.lowered.copy(), self.text.copy()
        name = self.fields[place][0]
        made.fields[place] = name, length
        made.lowered[place] = b"content-length", length
        made._text[name.decode("latin-1")] = length.decode()
        return made

    def check(self) -> None:
        """Reads what the connection must know, and makes a path of a target that is a URL.

        Raises:
            BadRequest: no Host in HTTP/1.1, more than one, one that is none, a target that is none.
            UnknownTransferCoding: a body that nobody here can read.
        """
        hosts = 0
        for name, value in self.lowered:
            if name not in _MEANT:
                continue
            if name == b"host":
                hosts += 1
                if value not in _HOSTS:
                    check_host(value)
                    if len(_HOSTS) < _MOST_KNOWN and len(value) < _LONG:
                        _HOSTS.add(value)
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"expect":
                self.expects = self.version == "1.1" and value.lower() == b"100-continue"
            else:
                check_coding(value, self.version)
        if hosts != 1 and (hosts or self.version == "1.1"):
            raise bad(f"a request needs exactly one Host field, not {hosts}")
        if self.target[0] != _SLASH:
            self.target = origin_form(self.method, self.target)

    @property
    def size(self) -> int:
        """Bytes that it had on the wire, at least."""
        fields = sum(len(name) + len(value) + 4 for name, value in self.fields)
        return len(self.method) + len(self.target) + len(" HTTP/1.1\r\n\r\n") + 1 + fields

    def framing(self) -> bytes:
        """A request that is nothing but how this one's body is framed."""
        lines = [b"POST / HTTP/%b" % self.version.encode()]
        kept = (b"content-length", b"transfer-encoding")
        lines += [b"%b: %b" % field for field in self.lowered if field[0] in kept]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class _Nowhere(list[tuple[bytes, bytes]]):
    def append(self, field: tuple[bytes, bytes]) -> None:
        """Keeps nothing."""


class Trailer(Head):
    """Where the fields behind a body in chunks go: they mean nothing here."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = self.lowered = _Nowhere()


class Framing(enum.Enum):
    """How the end of an answer's body can be told."""

    #: There is no body.
    NONE = "none"
    LENGTH = "length"
    CHUNKS = "chunks"
    #: It ends with the connection: HTTP/1.0 without a length.
    CLOSE = "close"


class _Known(enum.Enum):
    """Names of an answer's fields that mean something here."""

    LENGTH = b"content-length"
    REQUEST_ID = b"x-request-id"
    #: No name at all.
    NONE = b""


# Looked up for every answer, and members of an enum are slow to find.
_NONE, _LENGTH, _CHUNKS, _BY_CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKS, Framing.CLOSE
_LENGTH_FIELD, _REQUEST_ID, _NO_NAME = _Known.LENGTH, _Known.REQUEST_ID, _Known.NONE


@functools.lru_cache(maxsize=64)
def _between(fields: tuple[Field, ...]) -> bytes:
    """What stands between the request's id and the body's length in the head of a plain answer."""
    said = [(b"x-request-id", b"-"), *fields, (b"content-length", b"-")]
    return AnswerHead(Head(), 200, None, said, close=False).block[len(_PLAIN) + 1 : -len(_KEEP_ALIVE) - 3]


def plain_head(request_id: bytes, fields: tuple[Field, ...], length: int) -> bytes:
    """The head of an answer with status 200 behind which the connection stays, as `AnswerHead` has it.

    Args:
        fields: what it says beside the request's id and the body's length; the same again and again.
    """
    return b"%b%b%b%d\r\n%b" % (_PLAIN, request_id, _between(fields), length, _KEEP_ALIVE)


class AnswerHead:
    """The head of an answer, made from what an application says.

    Args:
        request: the head that is answered.
        status: the application's.
        reason: the application's phrase; None for the status's own.
        fields: the application's, names as they shall be sent.
        close: whether the connection closes behind this answer anyway.
    """

    __slots__ = ("block", "close", "framing", "request_id", "status")

    def __init__(
        self, request: Head, status: int, reason: bytes | None, fields: Iterable[Field], *, close: bool
    ) -> None:
        if not 200 <= status <= 599:
            _warn(request, "its status %s is none that an answer can have, 500 is sent", status)
            status, reason = 500, None
        self.status = status
        #: The answer's x-request-id, for the access log.
        self.request_id = b""
        lines = [_status_line(status, reason)]
        framing = _CHUNKS if request.version == "1.1" else _BY_CLOSE
        for field in fields:
            line = _LINES.get(field)
            if line is not None:
                lines.append(line)
                continue
            name, value = field
            start, known = _STARTS.get(name) or _start(name)
            if known is _NO_NAME or value.translate(None, _TEXT):
                _warn(request, _LEFT_OUT, name)
                continue
            if known is _LENGTH_FIELD:
                framing = _LENGTH
                if status in _EMPTY:
                    continue
            elif known is _REQUEST_ID:
                self.request_id = value
            elif len(_LINES) < _MOST_KNOWN and len(name) + len(value) < _LONG:
                _LINES[field] = start + value
            lines.append(start + value)
        if status in _NO_BODY:
            framing = _NONE
            lines += _EMPTY.get(status, ())
        elif framing is _CHUNKS:
            lines.append(b"transfer-encoding: chunked")
        #: Whether the connection closes behind the answer. After an error it does, as TorchServe's.
        self.close = close or status >= 400 or framing is _BY_CLOSE
        lines.append(_CLOSE if self.close else _KEEP_ALIVE)
        #: The bytes.
        self.block = b"\r\n".join(lines)
        self.framing = framing if request.method != b"HEAD" else _NONE


#: How fields of the first names begin that were said, and the lines of the first whole fields that mean
#: nothing here: there are few, and a look costs less than a call.
_STARTS: dict[bytes, tuple[bytes, _Known | None]] = {}
_LINES: dict[Field, bytes] = {}
_MOST_KNOWN, _LONG = 256, 128
#: The first Hosts that were asked for: a look costs less than their grammar.
_HOSTS: set[bytes] = set()


def _start(name: bytes) -> tuple[bytes, _Known | None]:
    """How a field of this name begins, and what it means."""
    found: tuple[bytes, _Known | None] = (b"", _NO_NAME)
    if _TOKEN.fullmatch(name):
        lowered = name.lower()
        found = name + b": ", next((known for known in _Known if known.value == lowered), None)
    if len(_STARTS) < _MOST_KNOWN and len(name) < _LONG:
        _STARTS[name] = found
    return found


@functools.lru_cache(maxsize=256)
def _status_line(status: int, reason: bytes | None) -> bytes:
    """The answer's first line; a phrase cannot break out of it."""
    reason = _REASONS.get(status, b"") if reason is None else reason.translate(_BLANKED)
    return b"HTTP/1.1 %d %b" % (status, reason)


def _warn(request: Head, what: str, which: object) -> None:
    """Logs that an answer is not sent as it was given; the path of its request names the model."""
    path = request.target.partition(b"?")[0]
    logger.warning("the answer to %s %s: " + what, request.method.decode(), path.decode("latin-1"), which)
