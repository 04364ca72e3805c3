"""What clients can do to a real server by being many, slow or wordy: nothing to others, and little to it."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from servers import Server, make_archive

HANDLER = """
def handle(data, context):
    return [str(len(row.get("body") or b"")) for row in data or ()]
"""
POST = b"POST /predictions/count HTTP/1.1\r\nHost: x\r\n"
MEGABYTE = 1 << 20
SETTINGS = {"default_workers_per_model": 1, "header_timeout": 1, "max_unfinished_bytes": 32 * MEGABYTE}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "count", HANDLER)
    server = Server(folder, ("count=count-1.0.mar",), dict(SETTINGS))
    yield server
    server.stop()


def memory(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def send(client: socket.socket, data: bytes) -> None:
    """Sends what the server takes."""
    with contextlib.suppress(OSError):
        client.sendall(data)


def rest(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            said += data
    return said


def serves(server: Server) -> bool:
    return server.client.post("/predictions/count", content=b"abc").text == "3"


def ask_in_chunks(server: Server, count: int) -> None:
    with connected(server) as client:
        send(client, POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * count)
        assert rest(client).startswith(b"HTTP/1.1 400 ")


def test_a_million_chunks_cost_nothing_that_stays(server: Server) -> None:
    for _ in range(250):  # the allocator takes what it keeps
        ask_in_chunks(server, 100_000)
    before = memory(server)
    for _ in range(100):
        ask_in_chunks(server, 1_000_000)
    assert memory(server) - before <= MEGABYTE
    assert serves(server)


def test_heads_that_trickle_in_are_not_waited_for(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(300)]
        for client in clients:
            send(client, b"GET /ping HTTP/1.1\r\n")
        assert serves(server)
        waiting = set(clients)
        while waiting:
            ended, _, _ = select.select(list(waiting), [], [], 0.2)
            for client in waiting - set(ended):
                send(client, b"a")
            for client in ended:
                assert rest(client).startswith(b"HTTP/1.1 408 ")
            waiting -= set(ended)
    assert serves(server)


def test_half_sent_bodies_have_a_budget_and_the_oldest_pay_for_it(server: Server) -> None:
    before = memory(server)
    head = POST + b"Content-Length: 4000000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(60)]
        for client in clients:
            send(client, head + bytes(3_900_000))
        assert serves(server)
        assert memory(server) - before <= 2 * SETTINGS["max_unfinished_bytes"]
        for client in clients[-5:]:
            send(client, bytes(100_000))
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        for client in clients[:40]:
            assert rest(client).startswith(b"HTTP/1.1 503 ")
    assert serves(server)
    assert len(server.workers()) == 1
