"""Raw requests on a real server's port: each comes to what the corpus says, whole and in pieces."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from corpus import Case, accepted_by_h11, cases
from servers import Server, make_archive

CASES = list(cases())
each_case = pytest.mark.parametrize("case", CASES, ids=[case.place for case in CASES])

HANDLER = """
def handle(data, context):
    return [str(len(row.get("body") or b"")) for row in data or ()]
"""
#: What shows that the connection is kept: no request of the corpus has this answer.
NEXT = b"GET /v2/models/next HTTP/1.1\r\nHost: next\r\n\r\n"
ANSWER = b'{"error":"Model not found: next"}'
#: Bytes of the longest request that is also sent in pieces.
SHORT = 400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "echo", HANDLER)
    server = Server(folder, ("echo=echo-1.0.mar",), {"default_workers_per_model": 1})
    yield server
    server.stop()


def asked(port: int, case: Case, pieces: list[bytes]) -> tuple[tuple[int, ...], bool]:
    """The statuses of the answers, and whether a next request has one, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                client.sendall(piece)
            if case.ends:
                client.shutdown(socket.SHUT_WR)
        except OSError:  # the server has closed, and its answer is there
            pass
        said = b""
        try:
            while data := client.recv(1 << 16):
                said += data
        except ConnectionResetError:
            pass
    kept = said.endswith(ANSWER)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) (?!Continue)", said)]
    return tuple(statuses[:-1] if kept else statuses), kept


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 600
    assert sum(not case.accepted for case in CASES) >= 400


@each_case
def test_h11_agrees_or_the_corpus_says_why_not(case: Case) -> None:
    assert (accepted_by_h11(case.sends) == case.accepted) is not bool(case.otherwise)


@pytest.mark.slow
@each_case
def test_a_request_comes_to_what_the_corpus_says(server: Server, case: Case) -> None:
    sends = [case.sends if case.ends else case.sends + NEXT]
    assert asked(server.port, case, sends) == (case.statuses, case.kept)


@pytest.mark.slow
@each_case
def test_it_does_so_in_pieces(server: Server, case: Case) -> None:
    """Each byte by itself as far as the network leaves it so; the next request comes later, too."""
    data = case.sends
    if len(data) > SHORT:
        pytest.skip("long requests come in pieces anyway")
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert asked(server.port, case, pieces if case.ends else [*pieces, NEXT]) == (case.statuses, case.kept)


@pytest.mark.slow
def test_the_server_is_none_the_worse(server: Server) -> None:
    assert server.client.get("/ping").json() == {"status": "Healthy"}
    assert len(server.workers()) == 1


@pytest.mark.parametrize(
    "before",
    [
        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
        b"POST /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ],
)
def test_an_empty_line_before_a_request_may_come_in_halves(server: Server, before: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(before + b"\r")
        answers = client.makefile("rb")
        assert answers.readline().startswith(b"HTTP/1.1 ")
        client.sendall(b"\nGET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answers.read().count(b"HTTP/1.1 200") == 1
        answers.close()
