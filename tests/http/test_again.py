"""Heads that come again: what is known by its bytes is what the parser would have read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_connection import HOST, listening, read_body

from torchkeeper.http.again import Again, again
from torchkeeper.http.grammar import origin_form
from torchkeeper.http.head import Head
from torchkeeper.http.limits import EdgeLimits

LIMITS = EdgeLimits(max_body=50)
FIELDS = [(b"Host", b"x"), (b"Content-Length", b"3"), (b"X-Mine", b"yes")]


def head(fields: list[tuple[bytes, bytes]], target: bytes = b"/m", **said: bool) -> Head:
    """What the parser makes of such a head."""
    made = Head()
    made.method, made.target, made.fields = b"POST", target, fields
    made.lowered = [(name.lower(), value) for name, value in fields]
    made.check()
    made.close, made.upgrade = said.get("close", False), said.get("upgrade", False)
    return made


def spelled(fields: list[tuple[bytes, bytes]], body: bytes = b"abc", target: bytes = b"/m") -> bytes:
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (target, lines, body)


def kept(limits: EdgeLimits = LIMITS) -> Again:
    found = again(spelled(FIELDS), head(FIELDS), limits)
    assert found is not None
    return found


@pytest.mark.parametrize("length", [0, 1, 3, 9, 10, 50])
def test_a_head_that_comes_again_has_the_body_s_own_length(length: int) -> None:
    fields = [FIELDS[0], (b"Content-Length", b"%d" % length), FIELDS[2]]
    body = b"\r" * length
    found = kept().read(spelled(fields, body))
    assert found is not None
    known, came = found
    read = head(fields)
    assert came == body
    for what in ("method", "target", "version", "fields", "lowered", "length", "close", "expects", "upgrade"):
        assert getattr(known, what) == getattr(read, what), what
    assert known.text == read.text == {"Host": "x", "Content-Length": str(length), "X-Mine": "yes"}


def test_long_heads_are_not_kept() -> None:
    for size, is_kept in ((4000, True), (4100, False)):
        fields = [*FIELDS, (b"X-Long", b"a" * size)]
        assert (again(spelled(fields), head(fields), LIMITS) is not None) is is_kept


def test_what_was_found_in_a_head_is_kept_and_the_first_one_stays_as_it_was() -> None:
    first = head(FIELDS)
    first.seen = object()
    found = again(spelled(FIELDS), first, LIMITS)
    assert found is not None
    same = found.read(spelled(FIELDS))
    longer = found.read(spelled([FIELDS[0], (b"Content-Length", b"4"), FIELDS[2]], b"abcd"))
    assert same is not None
    assert longer is not None
    assert same[0] is first
    assert longer[0].seen is first.seen
    assert first.fields == FIELDS
    assert first.text["Content-Length"] == "3"


@pytest.mark.parametrize(
    "data",
    [
        spelled(FIELDS, b"ab"),
        spelled(FIELDS, b"abcd"),
        spelled(FIELDS) + spelled(FIELDS),
        spelled(FIELDS, target=b"/n"),
        spelled([*FIELDS, (b"X-New", b"1")]),
        spelled([FIELDS[0], (b"Content-Length", b"+3"), FIELDS[2]]),
        spelled([FIELDS[0], (b"Content-Length", b""), FIELDS[2]], b""),
        spelled([FIELDS[0], (b"Content-Length", b"3 "), FIELDS[2]]),
        spelled([FIELDS[0], (b"Content-Length", b"51"), FIELDS[2]], bytes(51)),
        spelled([FIELDS[0], (b"Content-Length", b"0" * 20 + b"3"), FIELDS[2]]),
        spelled(FIELDS)[:40],
        b"",
    ],
)
def test_what_is_left_to_the_parser(data: bytes) -> None:
    assert kept().read(data) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (spelled(FIELDS).replace(b"X-Mine: yes", b"X-Mine:yes"), head(FIELDS)),
        (spelled(FIELDS, b"abcd"), head(FIELDS)),
        (spelled(FIELDS), head(FIELDS, close=True)),
        (spelled(FIELDS), head(FIELDS, upgrade=True)),
        (spelled([*FIELDS, (b"Expect", b"100-continue")]), head([*FIELDS, (b"Expect", b"100-continue")])),
        (spelled([*FIELDS, FIELDS[1]]), head([*FIELDS, FIELDS[1]])),
        (spelled(FIELDS[:1], b""), head(FIELDS[:1])),
        (spelled(FIELDS, target=b"http://x/m"), head(FIELDS, origin_form(b"POST", b"http://x/m"))),
        (
            spelled([*FIELDS, (b"Transfer-Encoding", b"chunked")]),
            head([*FIELDS, (b"Transfer-Encoding", b"chunked")]),
        ),
        (spelled([*FIELDS, (b"X", b"y" * 16330)]), head([*FIELDS, (b"X", b"y" * 16330)])),
    ],
    ids=["blank", "more", "close", "upgrade", "expect", "two lengths", "none", "URL", "chunks", "long"],
)
def test_heads_that_are_not_kept(data: bytes, said: Head) -> None:
    assert again(data, said, LIMITS) is None


async def everything(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application that says what it was asked."""
    body = await read_body(receive)
    given = scope["extensions"]["torchkeeper"]["headers"]
    said = b"|".join([scope["raw_path"], *(b"%b=%b" % pair for pair in (*given, *scope["headers"])), body])
    fields = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": said})


BODIES = st.binary(max_size=30) | st.sampled_from([b"\r", b"\n", b"\r\n\r\n", b"POST /m HTTP/1.1\r\n"])
ASKED = st.tuples(
    st.sampled_from([b"/m", b"/n"]), BODIES, st.sampled_from([b"", b"X-A: b\r\n"]), st.booleans()
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ASKED, min_size=1, max_size=12))
def test_every_request_of_a_connection_is_read_as_it_was_sent(asked: list[tuple[bytes, ...]]) -> None:
    async def run() -> None:
        async with listening(everything, idle_timeout=30.0) as (listener, _):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            for path, body, extra, in_two in asked:
                length = b"Content-Length: %d\r\n" % len(body)
                sent = b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + extra + b"\r\n" + body
                writer.write(sent[:40] if in_two else sent)
                if in_two:
                    await writer.drain()
                    await asyncio.sleep(0)
                    writer.write(sent[40:])
                head = await reader.readuntil(b"\r\n\r\n")
                said = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                lines = [line.split(b": ") for line in (HOST + length + extra).splitlines()]
                fields = [b"%b=%b" % (name, value) for name, value in lines]
                lowered = [b"%b=%b" % (name.lower(), value) for name, value in lines]
                assert said == b"|".join([path, *fields, *lowered, body])
            writer.close()

    asyncio.run(run())
