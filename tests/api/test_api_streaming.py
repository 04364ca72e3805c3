"""Streamed answers: a standard reader of server-sent events gets what was sent; chunks are as they are."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.api.error_form import torchserve_body
from torchkeeper.api.streaming import Streamed, event, streamed
from torchkeeper.engine.stream import Closed, Stream
from torchkeeper.errors import TorchkeeperError, WorkerDied
from torchkeeper.wire.messages import Reply

EVENTS = "text/event-stream"
FIRST = Reply(b"one", 201, "Begun", {"X-Mine": "yes"}, "text/plain")


def received(text: str) -> list[tuple[str, str]]:
    """Types and data of events, as WHATWG's steps for readers have them."""
    found = []
    kind, data = "", list[str]()
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        if name == "event":
            kind = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            found.append((kind or "message", "\n".join(data)))
            kind, data = "", []
    return found


async def bodies(answer: Streamed) -> tuple[list[bytes], Exception | None]:
    """All pieces, and the error that ended them."""
    pieces = []
    try:
        async for piece in answer.bodies():
            pieces.append(piece)
    except (TorchkeeperError, Closed) as error:
        return pieces, error
    return pieces, None


def sent(accept: str | None, *parts: bytes, error: TorchkeeperError | None = None) -> Streamed:
    """An answer whose first part is FIRST."""
    stream = Stream(FIRST)
    for part in parts:
        stream.put(Reply(part))
    if error is None:
        stream.end(Reply(b""))
    else:
        stream.fail(error)
    return streamed(stream, accept)


@given(st.lists(st.text()))
def test_events_come_back(texts: list[str]) -> None:
    plain = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    sent_text = b"".join(event(text.encode()) for text in texts).decode()
    assert received(sent_text) == [("message", text) for text in plain]


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.5", True),
        ("text/event-stream;q=0", False),
    ],
)
def test_events_are_for_those_who_accept_them(accept: str | None, events: bool) -> None:
    answer = sent(accept)
    assert answer.events is events
    assert answer.head.content_type == (EVENTS if events else "text/plain")
    assert (answer.head.status, answer.head.phrase) == (201, "Begun")
    assert answer.head.headers == {"X-Mine": "yes", "ts_stream_next": "true"}
    assert FIRST.headers == {"X-Mine": "yes"}


def test_chunks_are_the_parts_as_they_are() -> None:
    assert asyncio.run(bodies(sent(None, b"two\n", b"three"))) == ([b"one", b"two\n", b"three"], None)


def test_parts_are_events() -> None:
    pieces, error = asyncio.run(bodies(sent(EVENTS, b"two\nlines")))
    assert pieces == [b"data: one\n\n", b"data: two\ndata: lines\n\n"]
    assert error is None


def test_an_error_after_the_first_part() -> None:
    pieces, error = asyncio.run(bodies(sent(None, error=WorkerDied("exit code 7"))))
    assert pieces == [b"one"]
    assert isinstance(error, WorkerDied)
    pieces, error = asyncio.run(bodies(sent(EVENTS, error=WorkerDied("exit code 7"))))
    assert isinstance(error, WorkerDied)
    (first, (kind, said)) = received(b"".join(pieces).decode())
    assert first == ("message", "one")
    assert kind == "error"
    assert said == torchserve_body(WorkerDied("exit code 7")).decode().rstrip()


@pytest.mark.parametrize("accept", [None, EVENTS])
def test_a_stream_that_was_closed_says_nothing_more(accept: str | None) -> None:
    answer = sent(accept)
    answer.stream.close()
    pieces, error = asyncio.run(bodies(answer))
    assert pieces == []
    assert isinstance(error, Closed)
