"""Answers in parts on real connections: chunks, events, slow readers, clients that leave, errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from pathlib import Path

import httpx
import pytest

from conftest import Server, Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

SENDS = """
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    for number in range(3):
        parts = [f"{bytes(row['body']).decode()}{number} " for row in data]
        context.set_response_header(0, "x-kind", "stream")
        send_intermediate_predict_response(parts, context.request_ids, "Intermediate", 200, context)
    return ["end"] * len(data)
"""
YIELDS = """
def handle(data, context):
    return None if data is None else parts(data)

def parts(data):
    for row in data:
        text = bytes(row["body"]).decode()
    for word in text.split(","):
        if word == "raise":
            raise RuntimeError("broken in the middle")
        yield [{"word": word}]
"""
WATCHES = """
import time
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    while not context.is_cancelled(0):
        send_intermediate_predict_response(["tick"], context.request_ids, "", 200, context)
        time.sleep(0.001)
    assert context.cancelled
    open({left!r}, "w").close()
    return ["end"]
"""
FLOODS = """
def handle(data, context):
    return None if data is None else parts()

def parts():
    for number in range(64):
        yield [bytes(1 << 20)]
        with open({record!r}, "a") as record:
            record.write("x")
"""


def test_parts_are_chunks_with_the_first_ones_head(serve: Start) -> None:
    server = serve({"sends": SENDS})
    with server.client.stream("POST", "/predictions/sends", content=b"a") as answer:
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["ts_stream_next"] == "true"
        assert answer.headers["x-kind"] == "stream"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.read() == b"a0 a1 a2 end"
    # The connection can be used again.
    assert server.client.post("/predictions/sends", content=b"b").content == b"b0 b1 b2 end"


def test_a_batch_streams_to_each_its_own(serve: Start) -> None:
    server = serve({"sends": SENDS}, "batchSize: 8\nmaxBatchDelay: 50\n")
    sockets = []
    for number in range(8):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(
            b"POST /predictions/sends HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n%d"
            % number
        )
        sockets.append(client)
    for number, client in enumerate(sockets):
        with client, client.makefile("rb") as lines:
            assert b"".join(lines).endswith(
                b"".join(b"3\r\n%d%d \r\n" % (number, part) for part in range(3)) + b"3\r\nend\r\n0\r\n\r\n"
            )


def test_what_a_handler_yields_is_a_stream(serve: Start) -> None:
    server = serve({"yields": YIELDS})
    answer = server.client.post("/predictions/yields", content=b"one,two")
    assert answer.headers["ts_stream_next"] == "true"
    assert answer.text.replace("\n", "").replace(" ", "") == '{"word":"one"}{"word":"two"}'


def test_events_are_for_those_who_accept_them(serve: Start) -> None:
    server = serve({"yields": YIELDS, "sends": SENDS})
    accept = {"accept": "text/event-stream"}
    answer = server.client.post("/predictions/yields", content=b"one,two", headers=accept)
    assert answer.headers["content-type"] == "text/event-stream"
    events = answer.text.split("\n\n")
    assert events.pop() == ""
    assert [json.loads(event.replace("data: ", "")) for event in events] == [{"word": "one"}, {"word": "two"}]
    broken = server.client.post("/predictions/yields", content=b"one,raise", headers=accept)
    *_, last, end = broken.text.split("\n\n")
    assert (last.splitlines()[0], end) == ("event: error", "")
    told = json.loads(last.partition("\n")[2].replace("data: ", ""))
    told["cause"] = told["cause"].partition(" (")[0]
    assert told == {
        "code": 503,
        "type": "InternalServerException",
        "message": "Prediction failed",
        "cause": "RuntimeError: broken in the middle",
    }
    # An answer that was never streamed is no event.
    assert server.client.post("/predictions/yields", content=b"raise", headers=accept).status_code == 503


def test_an_error_after_the_first_part_is_no_success(serve: Start) -> None:
    server = serve({"yields": YIELDS})
    with pytest.raises(httpx.RemoteProtocolError):
        server.client.post("/predictions/yields", content=b"one,raise")
    first = server.client.post("/predictions/yields", content=b"raise")
    assert (first.status_code, first.json()["cause"].partition(" (")[0]) == (
        503,
        "RuntimeError: broken in the middle",
    )
    assert server.client.post("/predictions/yields", content=b"one").status_code == 200
    server.wait_for("failed after its first part: Prediction failed: RuntimeError: broken in the middle")


def test_a_worker_that_dies_in_the_middle_ends_the_stream(serve: Start) -> None:
    dies = YIELDS.replace('raise RuntimeError("broken in the middle")', "__import__('os')._exit(7)")
    server = serve({"dies": dies})
    with pytest.raises(httpx.RemoteProtocolError):
        server.client.post("/predictions/dies", content=b"one,raise")
    assert server.client.post("/predictions/dies", content=b"one").status_code == 200


def test_a_client_that_leaves_stops_the_stream(serve: Start, tmp_path: Path) -> None:
    left = tmp_path / "left"
    server = serve({"watches": WATCHES.format(left=str(left))})
    with server.client.stream("POST", "/predictions/watches", content=b"") as answer:
        assert next(answer.iter_raw()) == b"tick"
    eventually(left.exists)
    assert server.stop()["gone"] == 1


def test_a_generator_is_closed_when_its_client_leaves(serve: Start, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    source = f"""
import time

def handle(data, context):
    return None if data is None else parts()

def parts():
    try:
        while True:
            yield ["tick"]
            time.sleep(0.001)
    finally:
        open({str(closed)!r}, "w").close()
"""
    server = serve({"endless": source})
    with server.client.stream("POST", "/predictions/endless", content=b"") as answer:
        assert next(answer.iter_raw()) == b"tick"
    eventually(closed.exists)


def test_a_slow_reader_holds_the_handler_back(serve: Start, tmp_path: Path) -> None:
    record = tmp_path / "record"
    server = serve({"floods": FLOODS.format(record=str(record))})
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(
            b"POST /predictions/floods HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert client.recv(1)
        steady = [-1]

        def stopped_growing() -> bool:
            """Two looks in a row, a request apart, find the same number of parts."""
            for _ in range(50):
                server.client.get("/ping")
            steady.append(os.stat(record).st_size if record.exists() else 0)
            return steady[-1] == steady[-2] > 0

        eventually(stopped_growing)
        assert steady[-1] < 24, "the handler went on without its reader"
        size = 1
        while data := client.recv(1 << 20):
            size += len(data)
    assert size > 64 << 20
    assert record.stat().st_size == 64


def test_a_reader_that_never_reads_is_given_up(serve: Start, tmp_path: Path) -> None:
    record = tmp_path / "record"
    server = serve(
        {"floods": FLOODS.format(record=str(record))}, "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(b"POST /predictions/floods HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(1)
        # The only worker is free again although the client is still there.
        assert len(server.client.post("/predictions/floods").content) == 64 << 20
    assert "response timeout" not in server.output


TWO_AT_ONCE = """
import os
import time

def handle(data, context):
    return None if data is None else parts(data, context)

def parts(data, context):
    if len(data) == 1:  # the first one only keeps the worker until two others wait
        while not os.path.exists({ready!r}):
            time.sleep(0.001)
        yield ["ready"]
        return
    for number in range(64):
        yield [bytes(1 << 20)] * len(data)
        if context.is_cancelled(0):
            open({told!r}, "w").close()
"""


def test_a_reader_that_never_reads_costs_the_others_of_its_batch_nothing(
    serve: Start, tmp_path: Path
) -> None:
    ready, told = tmp_path / "ready", tmp_path / "told"
    source = TWO_AT_ONCE.format(ready=str(ready), told=str(told))
    server = serve({"two": source}, "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nresponseTimeout: 1000\n")
    request = b"POST /predictions/two HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as clients:
        first, slow, quick = (
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(3)
        )
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for number, client in enumerate((first, slow, quick)):
            client.sendall(request)
            eventually(lambda number=number: waiting(server) == number)
        ready.touch()
        with quick.makefile("rb") as answer:
            whole = answer.read()
        assert len(whole) > 64 << 20
        assert whole.endswith(b"\r\n0\r\n\r\n")
        cut = b""
        with contextlib.suppress(ConnectionResetError):
            while data := slow.recv(1 << 20):
                cut = (cut + data)[-1000:]
        assert not cut.endswith(b"\r\n0\r\n\r\n"), "a part of the answer looked like all of it"
    eventually(told.exists)
    server.wait_for("its answer is read too slowly, the rest of it is not sent")
    assert server.stop()["gone"] == 1


def waiting(server: Server) -> int:
    """Requests in the queue, or -1 before the first one has begun."""
    page = server.metrics.get("/metrics").text
    found = re.search(r"^torchkeeper_queue_depth\{.*\} (\d+)", page, re.MULTILINE)
    begun = re.search(r"^ts_inference_requests_total\{.*\} (\d+)", page, re.MULTILINE)
    return int(found[1]) if found and begun else -1


def test_yields_must_have_one_part_per_request(serve: Start) -> None:
    server = serve({"wrong": YIELDS.replace('yield [{"word": word}]', "yield word")})
    answer = server.client.post("/predictions/wrong", content=b"one")
    assert (answer.status_code, answer.json()["message"]) == (503, "Invalid model predict output")
    assert answer.json()["cause"] == "the handler yielded str, not a list"
