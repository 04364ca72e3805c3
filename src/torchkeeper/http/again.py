"""A head that came before and comes again: known by its bytes, so that no parser has to read it. Pure.

A client that keeps its connection says the same before each body, but for the body's length.
"""

from __future__ import annotations

from torchkeeper.http.head import Head
from torchkeeper.http.limits import EdgeLimits

#: Digits that a length may have to be read here.
_DIGITS = 12
#: Bytes of a head that is kept, which an idle connection holds three times.
_LONGEST = 4096


class Again:
    """The head of a connection's last request, as its next one may begin.

    Args:
        head: what was read of it.
        place: that of the body's length among its fields.
        before: its bytes up to that length.
        after: its bytes behind that.
        max_body: bytes that a body may have.
    """

    __slots__ = ("_after", "_before", "_head", "_length", "_max_body", "_place")

    def __init__(self, head: Head, place: int, before: bytes, after: bytes, max_body: int) -> None:
        self._head = head
        self._place = place
        self._before, self._after = before, after
        self._length = b"%d" % (head.length or 0)
        self._max_body = max_body

    def read(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and body of a request, if it begins so and this is all of it; None: the parser has the say."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        begin = len(before)
        end = data.find(b"\r", begin, begin + _DIGITS)
        length = data[begin:end]
        if end < 0 or not length.isdigit() or not data.startswith(after, end):
            return None
        body = data[end + len(after) :]
        if len(body) != int(length) or len(body) > self._max_body:
            return None
        if length != self._length:
            self._head, self._length = self._head.with_length(length, self._place), length
        return self._head, body


def again(data: bytes, head: Head, limits: EdgeLimits) -> Again | None:
    """What the next request may begin with, after one that was all of `data`.

    None: it was not, it is long or spelled in another way than nearly all are, or its head says more than
    what is asked for and how long the body is.
    """
    names = [name for name, _ in head.lowered]
    if head.length is None or head.close or head.upgrade or head.expects or b"transfer-encoding" in names:
        return None
    place = names.index(b"content-length")
    name, length = head.fields[place]
    lines = [b"%b: %b\r\n" % field for field in head.fields]
    before = b"%b %b HTTP/1.1\r\n%b%b: " % (head.method, head.target, b"".join(lines[:place]), name)
    after = b"\r\n%b\r\n" % b"".join(lines[place + 1 :])
    spelled = before + length + after
    if len(data) != len(spelled) + head.length or not data.startswith(spelled):
        return None
    if (
        len(before) + _DIGITS + len(after) > min(limits.max_header_bytes, _LONGEST)
        or b"content-length" in names[place + 1 :]
    ):
        return None
    head.keep()
    return Again(head, place, before, after, limits.max_body)
