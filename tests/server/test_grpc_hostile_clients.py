"""What gRPC clients can do by being many, wordy or fickle: the server goes on, and its books are right."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from rpc_client import Client  # type: ignore[import-not-found]  # pytest puts this folder on the path

from servers import Server, make_archive
from torchkeeper.rpc.schema import INFERENCE

HANDLER = """
def handle(data, context):
    return [str(len(row.get("data") or b"")) for row in data or ()]
"""
MEGABYTE = 1 << 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "m", HANDLER)
    server = Server(folder, ("m=m-1.0.mar",), {"default_workers_per_model": 1, "job_queue_size": 10_000})
    yield server
    server.stop()  # and its ledger adds up


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(server.grpc)
    yield client
    assert client[INFERENCE, "Predictions"](model_name="m", input={"data": b"abc"}).prediction == b"3"
    client.channel.close()


@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_metadata_that_are_too_long_are_refused(client: Client, size: int) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client[INFERENCE, "Ping"](metadata=(("x-long", "a" * size),))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_that_are_taken_back_at_once_cost_nothing_that_stays(server: Server, client: Client) -> None:
    """grpc itself may end a connection that does so, with all that is on it: others are asked elsewhere."""
    fickle = Client(server.grpc)
    begin = fickle.future(INFERENCE, "Predictions")

    def take_back(count: int) -> None:
        for _ in range(count):
            begin(model_name="m", input={"data": b"x" * 1000}).cancel()
        assert client[INFERENCE, "Ping"]().health

    for _ in range(4):  # what is in hand at once takes memory that the allocator keeps
        take_back(5000)
    before = psutil.Process(server.process.pid).memory_info().rss
    take_back(5000)
    assert psutil.Process(server.process.pid).memory_info().rss - before < 20 * MEGABYTE
    fickle.channel.close()


def test_many_calls_on_one_connection_are_all_answered(client: Client) -> None:
    begin = client.future(INFERENCE, "Predictions")
    calls = [begin(model_name="m", input={"data": bytes(number)}, timeout=120) for number in range(1000)]
    assert [int(call.result().prediction) for call in calls] == list(range(1000))


def test_connections_that_say_nothing_do_no_harm(server: Server, client: Client) -> None:
    host, _, port = server.grpc.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=60) for _ in range(200)]
    for number, one in enumerate(silent):
        one.sendall(
            (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 50)[number % 4]
        )
    assert client[INFERENCE, "Ping"]().health
    for one in silent:
        one.close()
