"""What a request's head must be beyond what the parser holds it to. Pure.

The parser takes several blanks in a request line, protocols that are not HTTP, any text as a Host, and bodies
in codings that nobody here undoes. Source: RFC 9112 (2.3, 3, 3.2, 6.1), RFC 3986 (3.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torchkeeper.errors import BadRequest, TorchkeeperError

INVALID = "Invalid HTTP message."

_HOST = re.compile(
    rb"(?:\[[0-9A-Za-z:.%\-_~!$&'()*+,;=]+\]|(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]+)(.*)", re.DOTALL)
_BLANKS = re.compile(rb" *")
#: What the parser takes behind a target.
_LINE_ENDS = (b"HTTP/", b"RTSP/", b"ICE/", b"\r\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


class UnknownTransferCoding(TorchkeeperError):
    """A body in a transfer coding that is not known: 501 (RFC 9112, section 6.1)."""

    status = 501
    type = "NotImplementedException"
    refusal = True


class UnknownVersion(TorchkeeperError):
    """A version of HTTP that is not spoken: 505."""

    status = 505
    type = "HttpVersionNotSupportedException"
    refusal = True


def bad(cause: str | None) -> BadRequest:
    """The refusal of a head, with what is wrong with it."""
    return BadRequest(INVALID, cause=cause)


def find_line(raw: bytes, method: bytes, target: bytes, version: str, after: int) -> int:
    """Where the request line ends from which the parser read these three.

    The parser does not say where a request begins: of the first one in `raw` it is known, a later one stands
    somewhere behind the line before.

    Args:
        after: where the line before ends; 0 if there is none.

    Raises:
        BadRequest: it is not there in the one spelling that there is.
    """
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    start = _spelled_anyhow(raw, method, target, after) if after else _end(_EMPTY_LINES, raw, 0)
    if not raw.startswith(line, start):
        raise bad("the request line must be method, target and HTTP version with one blank between")
    return start + len(line)


def _end(pattern: re.Pattern[bytes], raw: bytes, at: int) -> int:
    found = pattern.match(raw, at)
    return found.end() if found else at


def _spelled_anyhow(raw: bytes, method: bytes, target: bytes, after: int) -> int:
    """Where a line with these two begins, with any number of blanks around the target."""
    start = raw.find(method + b" ", after)
    while start >= 0:
        at = _end(_BLANKS, raw, start + len(method))
        if raw.startswith(target, at):
            at = _end(_BLANKS, raw, at + len(target))
            if raw.startswith(_LINE_ENDS, at):
                return start
        start = raw.find(method + b" ", start + 1)
    return after


def ends_connection(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether fields, by their lower-case names, have the connection end behind the answer."""
    said = b",".join(value for name, value in fields if name == b"connection")
    return b"close" in (option.strip(b" \t") for option in said.lower().split(b","))


def check_version(version: str) -> None:
    """Raises UnknownVersion for all but 1.0 and 1.1."""
    if version not in ("1.1", "1.0"):
        raise UnknownVersion(f"HTTP/{version} is not spoken here, HTTP/1.1 is.")


def check_host(value: bytes) -> None:
    """Raises BadRequest for what is no host and port."""
    if not _HOST.fullmatch(value.strip(b" \t")):
        raise bad("the Host field is no host with or without a port")


def check_coding(value: bytes, version: str) -> None:
    """Raises the refusal of a Transfer-Encoding that is not `chunked` alone, in HTTP/1.1."""
    if version != "1.1":
        raise bad("HTTP/1.0 has no Transfer-Encoding")
    if value.strip(b" \t").lower() != b"chunked":
        raise UnknownTransferCoding("No Transfer-Encoding but chunked is known.")


def origin_form(method: bytes, target: bytes) -> bytes:
    """The path and query of a target that does not begin with a slash.

    Raises:
        BadRequest: it names none.
    """
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise bad("the target is neither a path nor an http URL")
    check_host(absolute[1])
    rest: bytes = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest
