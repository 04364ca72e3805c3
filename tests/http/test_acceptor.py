"""Connections as they come from a listening socket, with real ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import resource
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from torchkeeper.http import acceptor
from torchkeeper.http.acceptor import Acceptor

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]


class Door:
    """An acceptor on a free port, who keeps whom it admits; those after `quick` of them take for ever."""

    def __init__(self, quick: int = 1000, most: float = math.inf) -> None:
        self._quick = quick
        self.inside: list[socket.socket] = []
        self.came = asyncio.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.acceptor = Acceptor(self.socket, self._admit, most)
        self.acceptor.start()

    async def _admit(self, connection: socket.socket) -> None:
        self.came.set()
        if len(self.inside) == self._quick:
            await asyncio.Event().wait()
        self.inside.append(connection)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.socket.getsockname(), timeout=10)

    def close(self) -> None:
        for sock in (*self.inside, self.socket):
            sock.close()


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    def running(scene: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await scene()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return running


Run = Callable[[Callable[[], Awaitable[None]]], None]


def test_those_who_wait_when_it_stops_are_admitted_if_that_is_wanted(run: Run) -> None:
    async def scene() -> None:
        for waiting in (True, False):
            door = Door()
            clients = [door.connect() for _ in range(3)]  # in one turn of the loop: none is accepted yet
            await door.acceptor.stop(waiting=waiting)
            assert len(door.inside) == (3 if waiting else 0)
            for sock in clients:
                sock.close()
            door.close()

    run(scene)


def test_nobody_connects_to_a_socket_that_accepts_no_more(run: Run) -> None:
    """Whose connection is taken into the line, and never accepted, has its request reset."""

    async def scene() -> None:
        door, answers = Door(), []
        address = door.socket.getsockname()

        async def admit(connection: socket.socket) -> None:
            connection.close()
            with socket.socket() as client:
                answers.append(client.connect_ex(address))

        with door.connect():
            await Acceptor(door.socket, admit).stop(waiting=True)
        assert answers == [errno.ECONNREFUSED]
        door.close()

    run(scene)


def test_who_has_left_meanwhile_is_not_admitted(run: Run) -> None:
    async def scene() -> None:
        door = Door()
        door.connect().close()
        with door.connect() as said, door.connect() as stays:
            said.sendall(b"x")
            said.shutdown(socket.SHUT_WR)
            await door.acceptor.stop(waiting=True)
            assert [sock.getpeername() for sock in door.inside] == [said.getsockname(), stays.getsockname()]
        door.close()

    run(scene)


def test_a_stop_drops_who_is_being_admitted(run: Run) -> None:
    async def scene() -> None:
        door = Door(quick=0)
        with door.connect() as client:
            await door.came.wait()
            await door.acceptor.stop()
            assert client.recv(1) == b""
        door.close()

    run(scene)


def test_who_takes_longest_makes_room(run: Run) -> None:
    async def scene() -> None:
        door = Door(quick=0, most=2)
        first, *others = (door.connect() for _ in range(3))
        assert await asyncio.get_running_loop().run_in_executor(None, first.recv, 1) == b""
        await door.acceptor.stop()
        for sock in (first, *others):
            sock.close()
        door.close()

    run(scene)


def test_without_a_descriptor_left_it_rests(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "_PAUSE", 3600.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scene() -> None:
        loop, door = asyncio.get_running_loop(), Door()
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            try:
                await loop.sock_connect(client, door.socket.getsockname())
                while not caplog.messages:
                    await asyncio.sleep(0)
                for _ in range(100):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert len(caplog.messages) == 1
            door.acceptor.start()
            await door.came.wait()
        await door.acceptor.stop()
        door.close()

    with caplog.at_level(logging.WARNING, acceptor.__name__):
        run(scene)
    assert "a connection could not be accepted: " in caplog.messages[0]
