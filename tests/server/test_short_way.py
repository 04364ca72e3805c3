"""The short way of predictions: what clients get, and what the books say, is as on the application's way."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate import Client, Gate  # type: ignore[import-not-found]
from test_predictions import ECHO  # type: ignore[import-not-found]
from test_streaming import YIELDS  # type: ignore[import-not-found]

from conftest import Server, Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
ASKS_FOR = ("text", "bytes", "tensor", "none", "custom", "raise", "no list", "too many", "set", "prediction")


def ask(server: Server, path: str, body: bytes, headers: str, *, apart: bool) -> list[str]:
    """The lines and the body of an answer, less what differs for each; `apart`: the body comes later."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        expect = "Expect: 100-continue\r\n" if apart else ""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}{expect}"
        head = f"{head}Content-Length: {len(body)}\r\n\r\n"
        if apart:
            sock.sendall(head.encode())
            assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
        else:
            sock.sendall(head.encode() + body)
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    return re.sub(r"(x-request-id: )\S+", r"\1", received.decode("latin-1")).splitlines()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    found = Gate(tmp_path)
    yield found
    found.close()


def test_answers_are_the_applications(serve: Start) -> None:
    server = serve({"echo": ECHO, "yields": YIELDS})
    cases = [("/predictions/echo", b"answer=%b" % asked.encode(), FORM) for asked in ASKS_FOR]
    cases += [
        ("/predictions/echo", b"answer=text", ""),
        ("/predictions/echo", b"\x00\xff", "Content-Type: image/png\r\nX-Mine: yes\r\n"),
        ("/predictions/echo", b"a%zz=1&b=2", FORM),
        ("/predictions/echo", b"x", "Content-Type: text/plain\r\nContent-Type: text/html\r\n"),
        ("/predictions/echo", b"x", "endpoint-load-metrics-format: TEXT\r\n"),
        ("/predictions/echo", b"x", "X-Server-Timeout: 30\r\n"),
        ("/predictions/echo?answer=text", b"x", ""),
        ("/predictions/echo/1.0", b"answer=text", FORM),
        ("/predictions/echo/1.0/deeper", b"x", ""),
        ("/predictions/echo", b"", ""),
        ("/explanations/echo", b"x", ""),
        ("/predictions/nobody", b"x", ""),
        ("/predictions/yields", b"one,two", ""),
        ("/predictions/yields", b"one,two", "Accept: text/event-stream\r\n"),
        ("/invocations?model_name=echo", b"x", ""),
    ]
    for path, body, headers in cases:
        if body:
            expected = ask(server, path, body, headers, apart=True)
        else:
            expected = ask(server, path, body, headers, apart=False)
        assert ask(server, path, body, headers, apart=False) == expected, (path, body, headers)
    ledger = server.stop()
    assert ledger["accepted"] == 2 * len(cases)
    assert ledger["gone"] == 0


def test_pipelined_requests_are_answered_in_their_order(serve: Start) -> None:
    server = serve({"echo": ECHO}, "batchSize: 4\nmaxWorkers: 1\nminWorkers: 1\n")
    request = "POST /predictions/echo HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n{}"
    bodies = [f"answer={kind}" for kind in ("text", "text", "custom", "text")]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        for _ in range(2):  # the first time the route is not known yet
            sent = "".join(request.format(FORM, len(body), body) for body in bodies[:2])
            sock.sendall(sent.encode())
            received = ""
            while received.count("hällo") < 2:
                received += sock.recv(65536).decode()
            assert received.count("HTTP/1.1 200") == 2
        sock.sendall("".join(request.format(FORM, len(body), body) for body in bodies).encode())
        received = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    statuses = re.findall(r"HTTP/1.1 (\d+)", received)
    assert statuses == ["200", "200", "418"], "an answer that is an error ends the connection"


def test_who_leaves_is_gone_and_is_not_computed(serve: Start, gate: Gate) -> None:
    server = serve({"gate": gate.handler})
    assert Client(server, b"first").answer() == (200, b"first")
    running = Client(server, b"wait")
    gate.wait_until_it_computes()
    left = Client(server, b"left")
    left.leave(server)
    gate.let_on()
    assert running.answer() == (200, b"wait")
    assert Client(server, b"last").answer() == (200, b"last")
    assert "left" not in " ".join(gate.batches())
    ledger = server.stop()
    assert (ledger["gone"], ledger["failed"], ledger["refused"]) == (1, 0, 0)


def test_a_client_that_does_not_read_holds_back_the_next_request_alone(serve: Start) -> None:
    source = "def handle(data, context):\n    return data and [bytes(1 << 24)] * len(data)\n"
    server = serve({"large": source}, max_response_size=1 << 25)
    assert len(server.client.post("/predictions/large", content=b"x").content) == 1 << 24
    request = b"POST /predictions/large HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        sock.sendall(request + request)
        assert len(server.client.post("/predictions/large", content=b"x").content) == 1 << 24
        received = 0
        while received < 2 << 24:
            received += len(sock.recv(1 << 20))


SIZES = """
def handle(data, context):
    if data is None:
        return None
    bodies = [bytes(row["body"]) for row in data]
    return [bytes(int(body)) if len(body) < 12 else str(len(body)) for body in bodies]
"""
LARGE = 40 << 20


def peak(server: Server, body: bytes, answer: int) -> int:
    """Bytes by which the front's memory grows for a request."""
    status = Path(f"/proc/{server.process.pid}/status")

    def held(kind: str) -> int:
        return 1024 * int(re.findall(rf"{kind}:\s+(\d+) kB", status.read_text())[0])

    before = held("VmRSS")
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    content = server.client.post("/predictions/sizes", content=body).content
    assert len(content) == answer if answer else content == b"%d" % len(body)
    return held("VmHWM") - before


def test_large_bodies_are_in_the_front_once(serve: Start) -> None:
    sizes = {"max_request_size": LARGE, "max_response_size": LARGE}
    server = serve({"sizes": SIZES}, **sizes)
    assert peak(server, b"1", 1) < LARGE / 8
    for _ in range(2):
        assert peak(server, bytes(LARGE), 0) < 1.3 * LARGE
        assert peak(server, b"%d" % LARGE, LARGE) < 1.3 * LARGE
