"""One exchange without a connection: what the application gets and gives, and the bytes that go out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.errors import BadRequest, RequestTooLarge, TorchkeeperError
from torchkeeper.http.exchange import Exchange
from torchkeeper.http.head import Field, Head

CHUNKS = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: An application of this module: what the exchange is, and ASGI's two functions.
App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]


class Line:
    """In the place of a connection: keeps what is sent and said."""

    def __init__(self) -> None:
        self.drained: asyncio.Event | None = None
        self.sent: list[bytes] = []
        self.takes = 0
        self.ends: list[bool] = []

    def unasked(self, error: TorchkeeperError, target: bytes) -> tuple[int, list[Field], bytes]:
        body = b"%b: %b" % (target, error.message.encode())
        return error.status, [(b"content-length", b"%d" % len(body))], body

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def taken(self) -> None:
        self.takes += 1

    def finished(self, exchange: Exchange, *, whole: bool) -> None:
        self.ends.append(whole)


def head(
    method: bytes = b"POST", version: str = "1.1", *, expects: bool = False, close: bool = False
) -> Head:
    made = Head()
    made.method, made.target, made.version = method, b"/path", version
    made.expects, made.close = expects, close
    return made


def run(scene: Callable[[Line], Awaitable[None]]) -> Line:
    async def main() -> Line:
        line = Line()
        async with asyncio.timeout(30):
            await scene(line)
        return line

    return asyncio.run(main())


def answering(*parts: bytes, status: int = 200, length: bool = False) -> App:
    """An application that reads nothing and answers with these parts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-length", b"%d" % len(b"".join(parts)))] if length else []
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for place, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": place < len(parts)})

    return app


async def read(receive: Any) -> list[bytes]:
    """The pieces of a body up to its end."""
    pieces = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message["body"])
        if not message["more_body"]:
            break
    return pieces


def answered(app: App, asked: Head | None = None, body: bytes | None = b"") -> Line:
    """What goes out; without a body, it never comes to its end."""

    async def scene(line: Line) -> None:
        exchange = Exchange(line, asked or head())
        if body is not None:
            exchange.feed(body)
            exchange.complete()
        await exchange.run(app, {})

    return run(scene)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.integers(0, 6))
def test_the_application_reads_the_body_whatever_it_came_in(pieces: list[bytes], early: int) -> None:
    found: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend(await read(receive))
        await answering(b"done")(scope, receive, send)

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        for piece in pieces[:early]:
            exchange.feed(piece)
        task = asyncio.ensure_future(exchange.run(app, {}))
        for place, piece in enumerate(pieces[early:], early + 1):
            await asyncio.sleep(0)
            assert exchange.feed(piece) == len(b"".join(pieces[:place]))
        exchange.complete()
        await task
        assert exchange.unread == 0

    line = run(scene)
    assert b"".join(found) == b"".join(pieces)
    assert line.ends == [True]
    assert line.takes <= len(pieces)


def test_the_connection_hears_when_a_body_is_taken_and_only_then() -> None:
    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.feed(b"123")
        exchange.feed(b"45")
        assert (exchange.unread, line.takes) == (5, 0)
        exchange.complete()
        await exchange.run(reading, {})
        assert (exchange.unread, line.takes) == (0, 1)

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        assert await read(receive) == [b"12345"]
        await answering(b"done")(scope, receive, send)

    run(scene)


@pytest.mark.parametrize(
    ("app", "asked", "block", "body"),
    [
        (
            answering(b"ab", b"", b"c"),
            head(),
            b"transfer-encoding: chunked",
            b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (answering(b"ab", b"c", length=True), head(), b"content-length: 3", b"abc"),
        (answering(b"ab", b"c"), head(version="1.0"), b"connection: close", b"abc"),
        (answering(b"abc"), head(b"HEAD"), b"transfer-encoding: chunked", b""),
        (answering(b"abc", status=204), head(), b"204 No Content", b""),
    ],
    ids=["chunks", "length", "until the end", "HEAD", "no body"],
)
def test_a_body_is_framed_as_its_head_says(app: App, asked: Head, block: bytes, body: bytes) -> None:
    line = answered(app, asked)
    sent_head, _, sent_body = b"".join(line.sent).partition(b"\r\n\r\n")
    assert block in sent_head
    assert sent_body == body
    assert line.ends == [True]


def test_a_head_waits_for_the_first_piece_of_its_body() -> None:
    line = answered(answering(b"a", b"b"))
    assert [part.count(b"HTTP/1.1 200 OK") for part in line.sent] == [1, 0]
    assert line.sent[0].endswith(b"\r\n\r\n1\r\na\r\n")


@pytest.mark.parametrize(("body", "last"), [(b"", False), (b"all of it", False), (None, True)])
def test_an_answer_to_half_a_body_is_the_connections_last(body: bytes | None, last: bool) -> None:
    said = b"connection: close" if last else b"connection: keep-alive"
    assert said in b"".join(answered(answering(b"done"), body=body).sent)


def test_a_request_that_closes_has_the_last_answer() -> None:
    line = Line()
    assert Exchange(line, head(close=True)).last
    assert Exchange(line, head(), BadRequest("what")).last
    assert not Exchange(line, head()).last


async def reading_late(scope: Any, receive: Any, send: Any) -> None:
    await read(receive)
    await answering(b"done")(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "expects", "early", "count"),
    [
        (reading_late, True, False, 1),
        (reading_late, False, False, 0),
        (reading_late, True, True, 0),
        (answering(b"no"), True, False, 0),
    ],
    ids=["asked for", "not asked for", "the body is here", "the body is not wanted"],
)
def test_a_client_is_told_to_go_on_if_it_waits_and_its_body_is_wanted(
    app: App, expects: bool, early: bool, count: int
) -> None:
    async def scene(line: Line) -> None:
        exchange = Exchange(line, head(expects=expects))
        if early:
            exchange.feed(b"body")
        task = asyncio.ensure_future(exchange.run(app, {}))
        await asyncio.sleep(0)
        if not task.done():
            exchange.feed(b"more")
            await asyncio.sleep(0)
            exchange.complete()
        await task

    line = run(scene)
    assert line.sent.count(CONTINUE) == count
    assert line.sent[:count] == [CONTINUE] * count


def test_large_pieces_come_and_go_as_they_are() -> None:
    large, small = bytes(100_000), b"small"
    messages: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"%d" % len(large))]})
        await send({"type": "http.response.body", "body": large})

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        for piece in (large, large, small, small):
            exchange.feed(piece)
        exchange.complete()
        await exchange.run(app, {})
        assert exchange.unread == 0

    line = run(scene)
    assert [message["body"] for message in messages] == [large, large, small + small]
    assert all(message["body"] is large for message in messages[:2])
    assert line.sent[-1] is large


def test_a_refused_head_is_answered_without_the_application() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("asked")

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head(), BadRequest("what"))
        await exchange.run(never, {})
        assert exchange.status == 400

    line = run(scene)
    assert b"".join(line.sent).endswith(b"\r\n\r\n/path: what")
    assert line.ends == [True]


@pytest.mark.parametrize("waiting", [False, True])
def test_a_body_refused_on_its_way_is_heard_of_and_answered(waiting: bool) -> None:
    refusal = RequestTooLarge("too large")
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(scope.get("refusal"))
        heard.append(await receive())

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        task = asyncio.ensure_future(exchange.run(app, {}))
        if waiting:
            await asyncio.sleep(0)
        exchange.refuse(refusal)
        await task

    line = run(scene)
    assert heard == [None if waiting else refusal, {"type": "http.disconnect", "refusal": refusal}]
    assert b"HTTP/1.1 413" in line.sent[0]
    assert b"connection: close" in line.sent[0]
    assert line.ends == [True]


def test_an_application_that_answers_a_refused_body_has_its_say() -> None:
    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.refuse(RequestTooLarge("too large"))
        await exchange.run(answering(b"mine", status=422), {})

    line = run(scene)
    assert b"HTTP/1.1 422" in line.sent[0]
    assert len(line.sent) == 1


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("a fault")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    return


@pytest.mark.parametrize("app", [failing, silent])
def test_an_application_that_gives_no_answer_is_a_500(app: App) -> None:
    line = answered(app)
    assert b"HTTP/1.1 500" in line.sent[0]
    assert line.sent[0].endswith(b"/path: Internal server error")
    assert line.ends == [True]


def test_an_application_that_fails_half_way_leaves_half_an_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("a fault")

    line = answered(app)
    assert b"".join(line.sent).endswith(b"4\r\nhalf\r\n")
    assert line.ends == [False]


def test_a_request_that_is_cancelled_is_answered_and_is_the_last() -> None:
    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.complete()
        task = asyncio.ensure_future(exchange.run(hanging, {}))
        await asyncio.sleep(0)
        task.cancel()
        await task
        assert exchange.last

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    line = run(scene)
    assert b"HTTP/1.1 503" in line.sent[0]
    assert b"The server is ending." in line.sent[0]
    assert b"connection: close" in line.sent[0]


def test_a_client_that_left_is_heard_of_and_gets_nothing() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        await answering(b"too late")(scope, receive, send)

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.watch(lambda: heard.append("left"))
        task = asyncio.ensure_future(exchange.run(app, {}))
        await asyncio.sleep(0)
        exchange.disconnected()
        await task
        exchange.watch(lambda: heard.append("left before"))

    line = run(scene)
    assert heard == ["left", {"type": "http.disconnect", "refusal": None}, "left before"]
    assert line.sent == []
    assert line.ends == [True]


def test_nobody_is_told_of_a_client_that_leaves_behind_its_answer() -> None:
    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.complete()
        exchange.watch(lambda: pytest.fail("told"))
        await exchange.run(answering(b"done"), {})
        exchange.disconnected()

    run(scene)


def test_there_is_nothing_to_read_behind_an_answer() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await read(receive) == [b""]
        await answering(b"done")(scope, receive, send)
        heard.append(await receive())

    answered(app)
    assert heard == [{"type": "http.disconnect"}]


def test_an_answer_goes_on_when_the_client_reads_again() -> None:
    async def scene(line: Line) -> None:
        line.drained = asyncio.Event()
        exchange = Exchange(line, head())
        exchange.complete()
        task = asyncio.ensure_future(exchange.run(answering(b"a", b"b"), {}))
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(line.sent) == 1
        line.drained.set()
        await task
        assert len(line.sent) == 2

    run(scene)


def test_the_access_log_has_the_status_and_the_request_id() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"x-request-id", b"7"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 404, "headers": fields})
        await send({"type": "http.response.body"})

    async def scene(line: Line) -> None:
        exchange = Exchange(line, head())
        exchange.complete()
        assert (exchange.status, exchange.request_id) == (0, b"")
        await exchange.run(app, {})
        assert (exchange.status, exchange.request_id) == (404, b"7")
        assert exchange.last

    run(scene)


PLAIN = [(b"content-type", b"text/plain")]


@pytest.mark.parametrize("close", [False, True])
def test_a_plain_reply_is_a_reply(close: bool) -> None:
    said = [(b"x-request-id", b"7"), *PLAIN, (b"content-length", b"3")]

    async def scene(line: Line) -> None:
        for plainly in (False, True):
            exchange = Exchange(line, head(close=close))
            exchange.whole(b"body")
            if plainly:
                exchange.reply_plainly(b"7", tuple(PLAIN), b"abc")
            else:
                exchange.reply(200, None, said, b"abc")
            assert (exchange.status, exchange.request_id, exchange.last) == (200, b"7", close)

    line = run(scene)
    assert line.sent[0] == line.sent[1]
    assert line.sent[0].endswith(b"\r\n\r\nabc")
    assert line.ends == [True, True]


def test_a_plain_reply_to_a_client_that_is_gone_is_not_sent_and_one_to_a_slow_client_waits() -> None:
    async def scene(line: Line) -> None:
        gone, slow = Exchange(line, head()), Exchange(line, head())
        gone.whole(b"body")
        slow.whole(b"body")
        gone.disconnected()
        gone.reply_plainly(b"7", (), b"abc")
        assert (line.sent, line.ends) == ([], [True])
        line.drained = asyncio.Event()
        slow.reply_plainly(b"8", (), b"abc")
        assert (len(line.sent), line.ends) == (1, [True])
        line.drained.set()
        assert slow.task is not None
        await slow.task
        assert line.ends == [True, True]

    run(scene)
