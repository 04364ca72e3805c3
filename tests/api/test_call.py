"""A request as endpoints read it: header fields, the body in any pieces, and clients who leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.calling import Answering, call
from torchkeeper.api.call import Call, answered
from torchkeeper.errors import BadRequest, DeadlinePassed, RequestTooLarge
from torchkeeper.serving.ask import ClientGone
from torchkeeper.wire.messages import Input, Kind, Reply

LIMIT = 20
REQUEST = Input("1", Kind.PREDICT, (), {})


def pieces(chunks: Iterable[bytes], *last: dict[str, Any]) -> Call:
    """A request whose body comes in these messages."""
    given_chunks = list(chunks)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": bool(last) or place < len(given_chunks) - 1}
        for place, chunk in enumerate(given_chunks)
    ]
    messages += last

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    plain = call("POST", "/predictions/m")
    return Call(plain.match, plain.scope, receive, "1", LIMIT)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6))
def test_a_body_comes_whole_in_any_pieces_or_not_at_all(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    if len(whole) > LIMIT:
        with pytest.raises(RequestTooLarge):
            asyncio.run(pieces(chunks).body())
    else:
        assert asyncio.run(pieces(chunks).body()) == whole


def test_fields_that_asgi_lets_servers_leave_out() -> None:
    assert asyncio.run(pieces([], {"type": "http.request"}).body()) == b""
    assert asyncio.run(pieces([b"a"], {"type": "http.request"}).body()) == b"a"


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a", b"b"]])
@pytest.mark.parametrize(
    ("end", "error"),
    [
        ({"type": "http.disconnect"}, ClientGone),
        ({"type": "http.disconnect", "refusal": BadRequest("no chunk")}, BadRequest),
    ],
)
def test_a_body_that_does_not_come_says_why(
    chunks: list[bytes], end: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        asyncio.run(pieces(chunks, end).body())


def test_header_fields_by_name_and_as_they_were_written() -> None:
    asked = call("POST", "/predictions/m", headers={"X-Mixed": "one", "x-mixed": "two", "Latin": "\xfc"})
    assert asked.header(b"x-mixed") == "one"
    assert asked.header(b"absent") is None
    assert asked.fields() == {"X-Mixed": "one", "x-mixed": "two", "Latin": "\xc3\xbc"}


def test_of_a_repeated_field_the_last_is_shown() -> None:
    asked = call("POST", "/predictions/m")
    asked.scope["extensions"]["torchkeeper"]["headers"] = [(b"A", b"1"), (b"B", b"2"), (b"A", b"3")]
    assert asked.fields() == {"A": "3", "B": "2"}


def test_an_answer_with_and_without_somebody_who_watches_the_client() -> None:
    async def run() -> None:
        ask = Answering(Reply(b"7"))
        watched: list[object] = []
        for asked in (call("POST", "/predictions/m"), call("POST", "/predictions/m", watch=watched.append)):
            reply: Reply = await answered(asked, ask.whole("m", None, REQUEST))
            assert reply.body == b"7"
        assert len(watched) == 1

    asyncio.run(run())


def test_a_client_that_leaves_takes_its_request_back() -> None:
    async def run() -> None:
        ask = Answering(None)
        leave: list[Any] = []
        asked = call("POST", "/predictions/m", watch=leave.append)
        waiting = asyncio.create_task(answered(asked, ask.whole("m", None, REQUEST)))
        await asyncio.sleep(0)
        leave[0]()
        with pytest.raises(ClientGone):
            await waiting
        assert ask.left == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-envoy-expected-rq-timeout-ms": "1500"}, 1.5),
        ({"X-Server-Timeout": "30"}, 30.0),
        ({"X-Server-Timeout": "0"}, None),
        ({"X-Server-Timeout": "-1"}, None),
        ({"X-Server-Timeout": "soon"}, None),
        ({"X-Server-Timeout": "9" * 400}, 1e6),
    ],
)
def test_how_long_a_client_waits(headers: dict[str, str], seconds: float | None) -> None:
    assert call("POST", "/predictions/m", headers=headers).patience() == seconds


def test_a_request_is_given_no_more_time_than_its_client_has() -> None:
    async def run() -> None:
        ask = Answering(None)
        asked = call("POST", "/predictions/m", headers={"x-envoy-expected-rq-timeout-ms": "1"})
        with pytest.raises(DeadlinePassed) as late:
            await answered(asked, ask.whole("m", None, REQUEST))
        assert (late.value.status, ask.left) == (504, 1)
        in_time: Reply = await answered(asked, Answering(Reply(b"7")).whole("m", None, REQUEST))
        assert in_time.body == b"7"

    asyncio.run(run())
