"""The bounds that the connections of a listener have in common."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_connection import HOST, UNASKED, get, listening, read_body

from torchkeeper.errors import ServiceUnavailable, TorchkeeperError
from torchkeeper.http.connection import Connection
from torchkeeper.http.guests import Guests, most_connections
from torchkeeper.http.limits import EdgeLimits


def guests(**limits: object) -> Guests:
    return Guests(EdgeLimits(max_body=10, **limits))  # type: ignore[arg-type]  # whatever a test sets


class Sender:
    """A connection that remembers why it was given up."""

    def __init__(self) -> None:
        self.error: TorchkeeperError | None = None

    def give_up(self, error: TorchkeeperError) -> None:
        assert self.error is None
        self.error = error


def test_an_address_has_so_many_connections_and_others_have_theirs() -> None:
    those = guests(max_per_client=2)
    assert [those.enter("10.0.0.1") for _ in range(2)] == [None, None]
    error = those.enter("10.0.0.1")
    assert error is not None
    assert (error.status, error.headers["Retry-After"]) == (503, "1")
    assert "from this address" in error.message
    assert those.enter("10.0.0.2") is None
    for _ in range(2):
        those.leave("10.0.0.1")
    assert those.enter("10.0.0.1") is None


def test_far_too_many_are_not_even_answered() -> None:
    those = guests(max_per_client=2)
    for _ in range(4):
        those.enter("10.0.0.1")
    with pytest.raises(ServiceUnavailable):
        those.enter("10.0.0.1")


def test_who_is_not_even_answered_was_counted_like_others() -> None:
    those = guests(max_connections=4, max_per_client=3)
    hosts = ["10.0.0.1"] * 3 + [f"10.0.0.{number}" for number in range(2, 7)]
    for host in hosts:
        those.enter(host)
    with pytest.raises(ServiceUnavailable):
        those.enter("10.0.0.1")
    for host in ("10.0.0.1", *hosts[3:]):
        those.leave(host)
    error = those.enter("10.0.0.1")
    assert error is not None
    assert "from this address" in error.message


@pytest.mark.parametrize(
    "host",
    [
        None,
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "fe80::1%eth0",
    ],
)
def test_loopback_and_trusted_proxies_are_spared(host: str | None) -> None:
    trusted = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fe80::/10"))
    those = guests(max_per_client=1, trusted=trusted)
    assert [those.enter(host) for _ in range(9)] == [None] * 9
    assert those.enter("11.0.0.1") is None
    assert those.enter("11.0.0.1") is not None


def test_all_together_are_bounded_whoever_they_are() -> None:
    those = guests(max_connections=2)
    assert [those.enter("127.0.0.1") for _ in range(2)] == [None, None]
    error = those.enter("127.0.0.1")
    assert error is not None
    assert error.message == "More than 2 connections are open."
    assert 0 < most_connections() < max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 21)


def test_beyond_the_budget_the_oldest_body_is_refused_first() -> None:
    those = guests(max_unfinished=100)
    first, second, third = Sender(), Sender(), Sender()
    for sender in (first, second, third):
        those.hold(sender, 30)
    those.hold(third, 40)
    assert first.error is None
    those.hold(third, 41)
    assert first.error is not None
    assert (first.error.status, those.bytes) == (503, 71)
    those.release(second)
    assert (second.error, those.bytes) == (None, 41)
    those.hold(third, 101)
    assert (third.error is not None, those.bytes) == (True, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60))))
def test_the_budget_is_kept_whatever_comes(steps: list[tuple[int, int]]) -> None:
    those = guests(max_unfinished=100)
    senders = [Sender() for _ in range(6)]
    held: dict[int, int] = {}
    for number, size in steps:
        if senders[number].error is not None:
            continue
        if size:
            held[number] = size
            those.hold(senders[number], size)
        else:
            held.pop(number, None)
            those.release(senders[number])
        held = {number: size for number, size in held.items() if senders[number].error is None}
        assert those.bytes == sum(held.values()) <= 100


def test_on_a_real_connection_the_refused_ones_are_told_and_what_is_whole_counts_no_more() -> None:
    head = b"POST /m HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"

    async def count(scope: object, receive: object, send: object) -> None:
        body = await read_body(receive)  # type: ignore[arg-type]  # ASGI's
        fields = [(b"content-length", b"%d" % len(str(len(body))))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": str(len(body)).encode()})  # type: ignore[operator]

    async def run() -> list[bytes]:
        async with listening(count, max_unfinished=2500, drain_seconds=0.1) as (listener, _):
            async with contextlib.AsyncExitStack() as stack:
                pairs = []
                for _ in range(4):
                    pair = await asyncio.open_connection(*listener.getsockname())
                    stack.callback(pair[1].close)
                    pairs.append(pair)
                    pair[1].write(head + b"a" * 800)
                    await pair[1].drain()
                refused = await pairs[0][0].read()
                answers = [refused]
                for reader, writer in pairs[1:]:
                    writer.write(b"a" * 200 + get(b"/", b"Connection: close\r\n"))
                    answers.append(await reader.read())
        return answers

    first, *others = asyncio.run(run())
    assert first.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in first
    for answer in others:
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert b"\r\n\r\n1000HTTP" in answer


def test_one_connection_too_many_is_told_so_and_room_that_is_made_is_used() -> None:
    async def fine(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async def run() -> tuple[bytes, bytes, bytes]:
        async with listening(fine, max_connections=2, drain_seconds=0.1, idle_timeout=30) as (
            listener,
            there,
        ):
            address = listener.getsockname()
            first, second = [await asyncio.open_connection(*address) for _ in range(2)]
            first[1].write(get(b"/"))
            kept = await first[0].readuntil(b"\r\n\r\n")
            third = await asyncio.open_connection(*address)
            third[1].write(get(b"/"))
            refused = await third[0].read()
            for _, writer in (second, third):
                writer.close()
            while len(there) > 1:
                await asyncio.sleep(0)
            fourth = await asyncio.open_connection(*address)
            fourth[1].write(get(b"/", b"Connection: close\r\n"))
            taken = await fourth[0].read()
            for _, writer in (first, fourth):
                writer.close()
            return kept, refused, taken

    kept, refused, taken = asyncio.run(run())
    assert kept.startswith(b"HTTP/1.1 200 ")
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in refused
    assert b"More than 2 connections are open." in refused
    assert taken.startswith(b"HTTP/1.1 200 ")


def test_a_request_that_was_answered_before_its_body_came_owes_nothing_any_more() -> None:
    head = b"POST /%b HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"

    begun = asyncio.Event()

    async def hasty(scope: object, receive: object, send: object) -> None:
        if scope["raw_path"] == b"/whole":  # type: ignore[index]  # ASGI's
            begun.set()
            await read_body(receive)  # type: ignore[arg-type]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async def run() -> list[bytes]:
        async with listening(hasty, max_unfinished=1000, drain_seconds=5) as (listener, _):
            pairs = [await asyncio.open_connection(*listener.getsockname()) for _ in range(2)]
            (reader, writer), (other_reader, other) = pairs
            writer.write(head % b"hasty" + b"a" * 900)
            answered = await reader.readuntil(b"\r\n\r\n")  # and it still sends
            other.write(head % b"whole" + b"a" * 900)
            await begun.wait()
            other.write(b"a" * 100 + get(b"/hasty", b"Connection: close\r\n"))
            answers = [answered, await other_reader.read()]
            for _, each in pairs:
                each.close()
            return answers

    first, second = asyncio.run(run())
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.count(b"HTTP/1.1 200 ") == 2


CHUNKED = b"POST /whole HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = b"POST /%b HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"
SENDS = (
    *(SIZED % b"whole" + b"a" * 600, SIZED % b"hasty" + b"a" * 600, b"a" * 400, b"a" * 1000),
    *(get(b"/hasty"), get(b"/whole"), CHUNKED, b"190\r\n" + b"a" * 400 + b"\r\n", b"0\r\n\r\n"),
    *(b"nonsense\r\n\r\n", b"GET /ha", b"\r\n", b""),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(SENDS)), max_size=30))
def test_the_books_of_a_listener_are_right_whatever_its_clients_do(steps: list[tuple[int, bytes]]) -> None:
    """Each of four clients sends what it likes, nothing means that it leaves; the budget is of one body."""
    wrong: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        if scope["raw_path"] == b"/whole":  # type: ignore[index]  # ASGI's
            with contextlib.suppress(ConnectionError):
                await read_body(receive)  # type: ignore[arg-type]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async def run() -> Guests:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        bounds = EdgeLimits(max_body=5000, max_unfinished=1000, drain_seconds=0.1, max_connections=3)
        those = Guests(bounds)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = await asyncio.get_running_loop().create_server(
                lambda: Connection(app, bounds, those, UNASKED), sock=listener
            )
            clients: dict[int, asyncio.StreamWriter] = {}
            for number, data in steps:
                if number not in clients:
                    clients[number] = (await asyncio.open_connection(*listener.getsockname()))[1]
                writer = clients[number]
                if data:
                    writer.write(data)
                else:
                    clients.pop(number).close()
                for _ in range(8):
                    await asyncio.sleep(0)
                assert those.bytes <= bounds.max_unfinished
            for writer in clients.values():
                writer.close()
            async with asyncio.timeout(30):
                while those.connections:
                    await asyncio.sleep(0.001)
            server.close()
            await server.wait_closed()
        return those

    those = asyncio.run(run())
    assert not wrong
    assert those.bytes == 0
    assert those.enter("10.0.0.1") is None
