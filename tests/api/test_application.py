"""The application behind a real listener: what is counted, which routes are remembered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from torchkeeper.api.application import Application
from torchkeeper.api.call import Call
from torchkeeper.api.routes import Endpoint
from torchkeeper.api.streaming import Streamed, streamed
from torchkeeper.config.types import Address
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import InvalidKey
from torchkeeper.http.limits import EdgeLimits
from torchkeeper.http.listener import Listener
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.apis import Api
from torchkeeper.serving.books import Books
from torchkeeper.wire.messages import Reply

HOST = b"Host: x\r\n"
MAX_BODY = 1000


async def echo(call: Call) -> Reply:
    return Reply(await call.body())


async def hasty(call: Call) -> Reply:
    return Reply(b"done")


class Torn(Stream):
    """A stream whose reading fails as nothing should."""

    async def __anext__(self) -> Reply:
        raise ZeroDivisionError


async def faulty(call: Call) -> Streamed:
    return streamed(Torn(Reply(b"first")), None)


class Door:
    """A listener with one endpoint for predictions, and what became of its requests."""

    def __init__(self, guard: Any = None, **limits: Any) -> None:
        self.ledger = Ledger()
        self.statuses: list[int] = []
        self.access: list[int] = []
        self.limits = EdgeLimits(**({"max_body": MAX_BODY, "drain_seconds": 0.1} | limits))
        books = Books(self.ledger, guard, self.statuses.append)
        endpoints = {Endpoint.PREDICT: echo, Endpoint.PING: hasty, Endpoint.INVOKE: faulty}
        self.application = Application(Api.INFERENCE, endpoints, books, max_body=MAX_BODY)

    def _access(self, *line: Any) -> None:
        self.access.append(line[4])

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        listener = Listener("inference_address", Address("http", "127.0.0.1", 0))
        listener.bind()
        await listener.start(self.application, self.limits, self.application.unasked, self._access)
        try:
            async with asyncio.timeout(30):
                yield listener.port
        finally:
            await listener.stop(10)

    def talk(self, data: bytes) -> bytes:
        """Sends bytes; returns all that comes until the server closes."""

        async def run() -> bytes:
            async with self.open() as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                answer = await reader.read()
                writer.close()
                return answer

        return asyncio.run(run())


def post(head: bytes, body: bytes = b"", path: bytes = b"/predictions/m") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"


TOO_LONG = b"7d0\r\n" + b"x" * 2000
WAITS_ITS_TURN = post(b"Content-Length: 0\r\n", path=b"/ping") + post(CHUNKED, TOO_LONG, path=b"/ping")


def test_nothing_is_done_for_a_request_that_will_not_be_whole() -> None:
    for data, answers in ((post(CHUNKED, TOO_LONG, path=b"/ping"), [413]), (WAITS_ITS_TURN, [200, 413])):
        door = Door()
        assert door.talk(data).count(b"done") == answers.count(200)
        assert door.statuses == door.access == answers
        assert door.ledger == Ledger(len(answers), answered=answers.count(200), refused=1)


@pytest.mark.parametrize(
    ("data", "limits", "status"),
    [
        (post(CHUNKED, b"7d0\r\n" + b"x" * 2000), {}, 413),
        (post(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n"), {}, 413),
        (post(CHUNKED, b"2\r\nab\r\n"), {"body_timeout": 0.05}, 408),
        (post(b"Content-Length: 10\r\n", b"ab"), {"body_timeout": 0.05}, 408),
        (post(CHUNKED, b"2\r\nab\r\nno length\r\n"), {}, 400),
    ],
)
def test_a_body_that_is_refused_while_it_is_read_refuses_its_request(
    data: bytes, limits: dict[str, float], status: int
) -> None:
    door = Door(**limits)
    answer = door.talk(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert b'"code": %d' % status in answer
    assert door.ledger == Ledger(accepted=1, refused=1)
    assert door.statuses == door.access == [status]


@pytest.mark.parametrize(
    ("data", "limits", "status"),
    [
        (b"nonsense\r\n\r\n", {}, 400),
        (b"GET / HTTP/1.1\r\n\r\n", {}, 400),
        (b"CONNECT host:443 HTTP/1.1\r\n" + HOST + b"\r\n", {}, 405),
        (post(b"Content-Length: 5000\r\n"), {}, 413),
        (post(b"A: b\r\n" * 200), {}, 431),
        (post(b"A: " + b"b" * 70000), {}, 431),
        (b"POST / HTTP/1.1\r\nHo", {"header_timeout": 0.05}, 408),
    ],
)
def test_what_is_no_request_is_counted_and_logged_like_other_answers(
    data: bytes, limits: dict[str, float], status: int
) -> None:
    door = Door(**limits)
    assert door.talk(data).startswith(b"HTTP/1.1 %d " % status)
    assert door.ledger == Ledger()
    assert door.statuses == door.access == [status]


def test_a_client_that_leaves_while_it_sends_is_gone() -> None:
    door = Door()

    async def run() -> None:
        async with door.open() as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(b"Content-Length: 10\r\n", b"ab"))
            while not door.ledger.accepted:
                await asyncio.sleep(0)
            writer.close()

    asyncio.run(run())
    assert door.ledger == Ledger(accepted=1, gone=1)
    assert door.statuses == []


def test_a_stream_that_fails_by_a_fault_of_the_server_has_its_entry_and_no_end() -> None:
    door = Door()
    answer = door.talk(post(b"Content-Length: 0\r\n", path=b"/invocations"))
    assert not answer.endswith(b"0\r\n\r\n")
    assert door.ledger == Ledger(accepted=1, failed=1)


class OneKey:
    """A guard that knows one key."""

    def check(self, need: Key, authorization: str | None, client: str) -> float:
        if authorization != "Bearer right":
            raise InvalidKey()
        return 0.0


def ask(application: Application, paths: list[str], key: bytes = b"Bearer right") -> list[int]:
    """The statuses of an application's answers to requests without a body."""
    statuses = []

    async def run(path: str) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "method": "POST",
            "raw_path": path.encode(),
            "headers": [(b"authorization", key)],
            "client": ("127.0.0.1", 1),
        }
        await application(scope, receive, send)

    async def all_of_them() -> None:
        for path in paths:
            await run(path)

    asyncio.run(all_of_them())
    return statuses


def test_routes_are_remembered_only_for_those_who_may_use_them() -> None:
    application = Door(OneKey()).application
    assert ask(application, ["/predictions/m"], b"Bearer wrong") == [400]
    assert ask(application, ["/predictions/m", "/nowhere", "/predictions/m/%zz"]) == [200, 404, 403]
    assert list(application.known) == [(b"/predictions/m", "POST")]
    assert ask(application, ["/predictions/m"], b"Bearer wrong") == [400]


def test_what_is_remembered_of_routes_has_a_bound() -> None:
    application = Door().application
    long = [f"/predictions/{'m' * 60000}{number}" for number in range(20)]
    many = [f"/predictions/{number}" for number in range(5000)]
    assert set(ask(application, [*long, *many])) == {200}
    assert len(application.known) <= 1024
    assert (b"/predictions/4999", "POST") in application.known
    assert sum(len(path) for path, _ in application.known) < 1 << 18
