"""A TLS port's door with real sockets: who comes in by which protocol, and who does not come in at all."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from torchkeeper.http import acceptor
from torchkeeper.http.tls_acceptor import PATIENCE, TlsAcceptor, https_only

CA = trustme.CA()
LEAF = CA.issue_cert("127.0.0.1")


class Named(asyncio.Protocol):
    """Answers with its name and what came, and closes; after `stay` it does not."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._name + b" " + data)
        if data != b"stay":
            self._transport.close()


class Door:
    """An acceptor on a free port."""

    def __init__(self, patience: float, most: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        LEAF.configure_cert(context)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.acceptor = TlsAcceptor(
            self.socket, context, lambda: Named(b"secure"), lambda: Named(b"plain"), patience, most
        )

    async def ask(self, data: bytes, **tls: Any) -> bytes:
        """All that is answered to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **tls)
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()


def run(scene: Callable[[Door], Awaitable[None]], patience: float = PATIENCE, most: int = 1024) -> None:
    async def main() -> None:
        door = Door(patience, most)
        with door.socket:
            door.acceptor.start()
            try:
                async with asyncio.timeout(30):
                    await scene(door)
            finally:
                await door.acceptor.stop()

    asyncio.run(main())


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def test_the_first_byte_says_which_protocol_a_connection_gets() -> None:
    async def scene(door: Door) -> None:
        assert await door.ask(b"hello", ssl=trusting()) == b"secure hello"
        assert await door.ask(b"GET / HTTP/1.1\r\n") == b"plain GET / HTTP/1.1\r\n"
        assert await door.ask(b"\x00") == b"plain \x00"

    run(scene)


def test_a_connection_that_says_nothing_keeps_nobody_waiting() -> None:
    async def scene(door: Door) -> None:
        _, quiet = await asyncio.open_connection("127.0.0.1", door.port)
        assert await door.ask(b"hello", ssl=trusting()) == b"secure hello"
        quiet.close()

    run(scene)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01"], ids=["nothing", "a byte", "a torn record"])
def test_patience_with_a_handshake_ends(said: bytes) -> None:
    async def scene(door: Door) -> None:
        assert await door.ask(said) == b""

    run(scene, patience=0.05)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x00\x05hello"])
def test_a_client_that_leaves_or_talks_nonsense_harms_nobody(said: bytes) -> None:
    async def scene(door: Door) -> None:
        with socket.create_connection(("127.0.0.1", door.port)) as gone:
            gone.sendall(said)
        assert await door.ask(b"hello", ssl=trusting()) == b"secure hello"

    run(scene)


def test_a_stop_lets_go_of_those_who_have_not_come_in_and_keeps_the_others() -> None:
    async def scene(door: Door) -> None:
        quiet, its_end = await asyncio.open_connection("127.0.0.1", door.port)
        half, its_other_end = await asyncio.open_connection("127.0.0.1", door.port)
        its_other_end.write(b"\x16\x03\x01")
        inside, talking = await asyncio.open_connection("127.0.0.1", door.port, ssl=trusting())
        talking.write(b"stay")
        assert await inside.read(100) == b"secure stay"
        await door.acceptor.stop()
        assert await quiet.read() == await half.read() == b""
        talking.write(b"still here")
        assert await inside.read() == b"secure still here"
        for writer in (its_end, its_other_end, talking):
            writer.close()
        assert len(asyncio.all_tasks()) == 1

    run(scene)


def test_without_a_descriptor_left_it_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "_PAUSE", 0.001)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scene(door: Door) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            try:
                await loop.sock_connect(client, ("127.0.0.1", door.port))
                while not caplog.messages:
                    await asyncio.sleep(0.001)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await loop.sock_sendall(client, b"x")
            assert await loop.sock_recv(client, 100) == b"plain x"

    with caplog.at_level(logging.WARNING, acceptor.__name__):
        run(scene)
    assert "a connection could not be accepted" in caplog.messages[0]


def test_plain_http_gets_torchserves_words() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("its body is not read")

    asyncio.run(https_only({}, receive, send))
    start, body = sent
    assert start["status"] == 403
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert body["body"] == b'{"status":"This TorchServe instance only accepts HTTPS requests"}'


def test_those_who_never_shake_hands_make_room_for_those_who_do() -> None:
    async def scene(door: Door) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(8)]
        assert await door.ask(b"hello", ssl=trusting()) == b"secure hello"
        for reader, _ in silent[:5]:
            assert await reader.read() == b""
        for _, writer in silent:
            writer.close()

    run(scene, most=4)
