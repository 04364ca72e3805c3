"""Clients that leave before their answer: what waits is not computed, what is computed harms nobody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate import Client, Gate, settle  # type: ignore[import-not-found]

from conftest import Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    found = Gate(tmp_path)
    yield found
    found.close()


def test_requests_of_clients_that_left_are_not_computed(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler}, "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n")
    first = Client(server, b"wait")
    gate.wait_until_it_computes()
    # With the worker busy, a full batch is prepared in its channel and the rest stays in the queue.
    leaver, stayer = Client(server, b"leaver"), Client(server, b"stayer")
    queued = Client(server, b"queued")
    leaver.leave(server)
    queued.leave(server)
    gate.let_on()
    assert first.answer() == (200, b"wait")
    assert stayer.answer() == (200, b"stayer")
    assert Client(server, b"later").answer() == (200, b"later")
    ledger = server.stop()
    assert gate.batches() == ["wait", "stayer", "later"]
    assert (ledger["gone"], ledger["failed"], ledger["refused"]) == (2, 0, 0)


def test_a_client_that_leaves_while_its_batch_is_computed_harms_nobody(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler}, "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n")
    blocker = Client(server, b"wait 1")
    gate.wait_until_it_computes()
    leaver, stayer = Client(server, b"wait 2"), Client(server, b"stayer")
    gate.let_on()
    gate.wait_until_it_computes()
    leaver.leave(server)
    gate.let_on()
    assert blocker.answer() == (200, b"wait 1")
    assert stayer.answer() == (200, b"stayer")
    assert Client(server, b"later").answer() == (200, b"later")
    ledger = server.stop()
    assert gate.batches() == ["wait 1", "wait 2 stayer", "later"]
    assert (ledger["gone"], ledger["failed"], ledger["refused"]) == (1, 0, 0)


def test_a_client_that_leaves_while_it_sends_is_gone(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler})
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /predictions/gate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        settle(server)
    assert Client(server, b"later").answer() == (200, b"later")
    ledger = server.stop()
    assert gate.batches() == ["later"]
    assert (ledger["gone"], ledger["failed"], ledger["refused"]) == (1, 0, 0)


def test_a_request_whose_time_is_over_is_answered_and_not_computed(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler}, "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")
    first = Client(server, b"wait")
    gate.wait_until_it_computes()
    prepared = Client(server, b"prepared")
    hasty = Client(server, b"hasty", "x-envoy-expected-rq-timeout-ms: 50\r\n")
    status, body = hasty.answer()
    assert (status, b"within the 0.05 s" in body) == (504, True)
    gate.let_on()
    assert first.answer() == (200, b"wait")
    assert prepared.answer() == (200, b"prepared")
    patient = Client(server, b"patient", "X-Server-Timeout: 60\r\n")
    assert patient.answer() == (200, b"patient")
    ledger = server.stop()
    assert gate.batches() == ["wait", "prepared", "patient"]
    assert (ledger["refused"], ledger["failed"], ledger["gone"]) == (1, 0, 0)
