"""Bodies in many pieces, and what stands around them."""

from __future__ import annotations

from typing import Any

import pytest
from test_connection import HOST, get, read_body, talk

CHUNKED = b"POST /m HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LAST = get(b"/next", b"Connection: close\r\n")


async def told(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application that says which fields there are when the body has come, and how long that is."""
    body = await read_body(receive)
    names = b",".join(sorted(name for name, _ in scope["headers"]))
    kept = b",".join(name for name, _ in scope["extensions"]["torchkeeper"]["headers"])
    said = b"%d %b %b" % (len(body), names, kept)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]}
    )
    await send({"type": "http.response.body", "body": said})


def test_the_fields_of_a_trailer_are_not_those_of_the_request() -> None:
    trailer = b"Authorization: Bearer a\r\nHost: y\r\nX: z\r\n"
    answer = talk(CHUNKED + b"2\r\nab\r\n0\r\n" + trailer + b"\r\n" + LAST, told)
    assert b"\r\n\r\n2 host,transfer-encoding Host,Transfer-EncodingHTTP/1.1 200" in answer
    offer = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
    assert talk(CHUNKED + b"0\r\n" + offer + b"\r\n" + LAST).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"1\r\na\r\n" * 99 + END, 200),
        (b"1\r\na\r\n" * 100 + END, 400),
        (b"1;" + b"x" * 200 + b"\r\na\r\n" + END, 200),
        ([b"1;", *[b"x" * 50_000] * 10, b"\r\na\r\n" + END], 400),
        ([b"0\r\nT: ", *[b"x" * 50_000] * 10, b"\r\n\r\n"], 400),
        ([*[b"1\r\na\r\n"] * 99, END], 200),
    ],
    ids=["chunks", "too many chunks", "extension", "long extension", "long trailer", "one by one"],
)
def test_a_body_has_no_endless_pieces_and_no_endless_bytes_around_them(body: Any, status: int) -> None:
    pieces = [CHUNKED, *(body if isinstance(body, list) else [body]), LAST]
    answer = talk(pieces, max_chunks=100, max_body=10_000, drain_seconds=0.2)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == (2 if status == 200 else 1)


def test_a_head_that_comes_in_one_piece_with_a_body_has_its_own_bound() -> None:
    body = b"Content-Length: 60000\r\n\r\n" + b"a" * 60000
    sends = b"POST /m HTTP/1.1\r\n" + HOST + body + LAST
    assert talk(sends, told, max_body=60000).count(b"HTTP/1.1 200 ") == 2
    long = b"POST /m HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 17000 + b"\r\n" + body
    assert talk(long, told, max_body=60000, drain_seconds=0.1).startswith(b"HTTP/1.1 431 ")


def test_the_second_request_of_what_came_at_once_has_the_same_bounds() -> None:
    second = get(b"/m", b"A: " + b"b" * 17000 + b"\r\n")
    answer = talk(get(b"/1") + second, told, drain_seconds=0.1)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 431 " in answer


def test_blanks_around_a_value_are_none_of_it() -> None:
    async def value(scope: dict[str, Any], receive: Any, send: Any) -> None:
        said = dict(scope["headers"])[b"a"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"<%b>" % said)]})
        await send({"type": "http.response.body", "body": b""})

    assert b"\r\nx: <b c>\r\n" in talk(get(b"/m", b"A: \t b c \t \r\nConnection: close\r\n"), value)
    assert b"\r\nx: <>\r\n" in talk(get(b"/m", b"A: \t \r\nConnection: close\r\n"), value)
