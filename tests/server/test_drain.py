"""SIGTERM in two phases: not ready, but serving; then running requests finish, and the rest gets a 503."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate import Client, Gate  # type: ignore[import-not-found]
from rpc_client import Client as RpcClient  # type: ignore[import-not-found]
from rpc_client import refusal

from conftest import Server, Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
OPEN = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    found = Gate(tmp_path)
    yield found
    found.close()


def test_before_it_stops_listening_it_says_that_it_is_not_ready_and_serves(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler}, drain_delay=3)
    running = Client(server, b"wait")
    gate.wait_until_it_computes()
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: server.client.get("/v2/health/ready").status_code == 503)
    assert server.client.get("/v2/health/live").status_code == 200
    assert server.client.get("/ping").status_code == 200, "a probe of life must not end it sooner"
    rpc = RpcClient(server.grpc)
    assert not rpc[OPEN, "ServerReady"]().ready
    gate.let_on()
    assert running.answer() == (200, b"wait")
    assert Client(server, b"late").answer() == (200, b"late"), "new connections are still taken"
    assert rpc[INFERENCE, "Predictions"](model_name="gate", input={"body": b"late"}).prediction == b"late"
    rpc.channel.close()
    assert server.ended(0)["failed"] == 0


def test_what_is_not_done_in_time_gets_a_503_over_every_protocol(serve: Start, gate: Gate) -> None:
    config = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n"
    server = serve({"gate": gate.handler}, config, drain_timeout=1)
    running = Client(server, b"wait")
    gate.wait_until_it_computes()
    queued = Client(server, b"queued")
    rpc = RpcClient(server.grpc)
    call = rpc.future(INFERENCE, "Predictions")(model_name="gate", input={"body": b"queued"})
    eventually(lambda: _pending(server) == 2)
    server.process.send_signal(signal.SIGTERM)
    for client in (running, queued):
        status, body = client.answer()
        assert status == 503
        assert b"the server is ending" in body
    assert refusal(call.result)[0] == "UNAVAILABLE"
    rpc.channel.close()
    ledger = server.ended(0)
    assert (ledger["refused"], ledger["failed"], ledger["gone"]) == (3, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_means_now(serve: Start, gate: Gate, number: signal.Signals) -> None:
    server = serve({"gate": gate.handler}, drain_delay=1000, drain_timeout=1000)
    running = Client(server, b"wait")
    gate.wait_until_it_computes()
    server.process.send_signal(signal.SIGTERM)
    first = time.monotonic()
    eventually(lambda: server.client.get("/v2/health/ready").status_code == 503)
    if number == signal.SIGTERM:
        # Within a moment it would be the first one again, which supervisors send twice.
        eventually(lambda: time.monotonic() > first + 1.1)
    server.process.send_signal(number)
    status, body = running.answer()
    assert (status, b"the server is ending" in body) == (503, True)
    assert server.ended(128 + number)["failed"] == 0


def _pending(server: Server) -> int:
    (described,) = server.manage.get("/models/gate").json()
    pending: int = described["jobQueueStatus"]["pendingRequests"]
    return pending
