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
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from torchkeeper.errors import BadRequest

logger = logging.getLogger(__name__)

Field = tuple[bytes, bytes]

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_KEEP_ALIVE = b"connection: keep-alive\r\n\r\n"
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
#: The statuses whose answers have no body, and what there is instead of a length.
_EMPTY: dict[int, tuple[bytes, ...]] = {204: (), 205: (b"content-length: 0\r\n",)}
_NO_BODY = frozenset({*_EMPTY, 304})
_LEFT_OUT = "the header field %r is none and is left out"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: What may stand in a field's value or a phrase: no control characters but the tab.
_TEXT = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))
_BLANKED = bytes(byte if byte in _TEXT else 32 for byte in range(256))


class Head:
    """What came before a body: request line and header fields, as given and with lower-case names."""

    __slots__ = (
        *("begin", "close", "expects", "fields", "length", "lowered", "method", "target"),
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

    def framing(self) -> bytes:
        """A request that is nothing but how this one's body is framed."""
        lines = [b"POST / HTTP/%b" % self.version.encode()]
        kept = (b"content-length", b"transfer-encoding")
        lines += [b"%b: %b" % field for field in self.lowered if field[0] in kept]
        return b"\r\n".join(lines) + b"\r\n\r\n"


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


class AnswerHead:
    """The head of an answer, made from what an application says.

    Args:
        request: the head that is answered.
        status: the application's.
        reason: the application's phrase; None for the status's own.
        fields: the application's, names as they shall be sent.
    """

    __slots__ = ("_block", "framing", "request_id", "status")

    def __init__(self, request: Head, status: int, reason: bytes | None, fields: Iterable[Field]) -> None:
        if not 200 <= status <= 999:
            _warn(request, "its status %s is none that an answer can have, 500 is sent", status)
            status, reason = 500, None
        self.status = status
        #: The answer's x-request-id, for the access log.
        self.request_id = b""
        lines = [_status_line(status, reason)]
        framing = Framing.CHUNKS if request.version == "1.1" else Framing.CLOSE
        for name, value in fields:
            start, known = _start(name)
            if known is not None:
                if known is _Known.REQUEST_ID:
                    self.request_id = value
                elif known is _Known.NONE:
                    _warn(request, _LEFT_OUT, name)
                    continue
                else:
                    framing = Framing.LENGTH
                    if status in _EMPTY:
                        continue
            lines.append(start + value + b"\r\n")
        if status in _NO_BODY:
            framing = Framing.NONE
            lines += _EMPTY.get(status, ())
        elif framing is Framing.CHUNKS:
            lines.append(_CHUNKED)
        self.framing = framing if request.method != b"HEAD" else Framing.NONE
        block = b"".join(lines)
        if block.translate(None, _TEXT) != b"\r\n" * len(lines):
            block = b"".join(_readable(request, lines))
        self._block = block

    def bytes(self, *, close: bool) -> bytes:
        """The head as it is sent, with the word whether the connection closes after this answer."""
        return self._block + (_CLOSE if close else _KEEP_ALIVE)


def _readable(request: Head, lines: list[bytes]) -> Iterator[bytes]:
    """The lines that are one line each."""
    for line in lines:
        if line[:-2].translate(None, _TEXT):
            _warn(request, _LEFT_OUT, line.partition(b":")[0])
        else:
            yield line


@functools.lru_cache(maxsize=256)
def _start(name: bytes) -> tuple[bytes, _Known | None]:
    """How a field of this name begins, and what it means."""
    if not _TOKEN.fullmatch(name):
        return b"", _Known.NONE
    lowered = name.lower()
    known = next((known for known in _Known if known.value == lowered), None)
    return name + b": ", known


@functools.lru_cache(maxsize=256)
def _status_line(status: int, reason: bytes | None) -> bytes:
    """The answer's first line; a phrase cannot break out of it."""
    reason = _REASONS.get(status, b"") if reason is None else reason.translate(_BLANKED)
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def _warn(request: Head, what: str, which: object) -> None:
    """Logs that an answer is not sent as it was given; the path of its request names the model."""
    path = request.target.partition(b"?")[0]
    logger.warning("the answer to %s %s: " + what, request.method.decode(), path.decode("latin-1"), which)
