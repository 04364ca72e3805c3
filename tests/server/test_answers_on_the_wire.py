"""What a handler says of status, phrase and header fields, as bytes on a kept connection of a real server."""

from __future__ import annotations

import socket

import pytest

from conftest import Server, Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

DETECTOR = """
def handle(data, context):
    if data is None:
        return None
    for place, row in enumerate(data):
        status, _, field = bytes(row["body"]).decode().partition(" ")
        context.set_response_status(int(status), "said", place)
        if field:
            context.set_response_header(place, field, "split\\r\\nX-Injected: yes")
            context.set_response_header(place, "no token", "yes")
    return [{"boxes": []} for _ in data]
"""


def ask(server: Server, *bodies: bytes) -> bytes:
    """All that comes for requests with these bodies on one connection, the last of which closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        for number, body in enumerate(bodies, 1):
            close = b"Connection: close\r\n" if number == len(bodies) else b""
            head = b"POST /predictions/m HTTP/1.1\r\nHost: x\r\n" + close
            sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def test_what_a_handler_says_stays_http(serve: Start) -> None:
    server = serve({"m": DETECTOR})
    for status in (b"204", b"205", b"304"):
        head, _, rest = ask(server, status, b"200").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status + b" said\r\n")
        assert rest.startswith(b"HTTP/1.1 200 said\r\n")
        assert rest.count(b"boxes") == 1
    odd = ask(server, b"200 X-Odd")
    assert odd.count(b"HTTP/1.1 ") == 1
    assert b"\r\nX-Injected" not in odd
    assert b"\r\nno token" not in odd
    for status in (b"99", b"101", b"1000"):
        answer = ask(server, status)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 5")


def test_refusals_at_the_edge_are_counted_as_4xx(serve: Start) -> None:
    server = serve({"m": DETECTOR}, max_request_size=1000, metrics_mode="prometheus")
    for data in (b"nonsense\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
            sock.sendall(data)
            assert sock.recv(65536).startswith(b"HTTP/1.1 4")
    large = server.client.post("/predictions/m", content=iter([b"x" * 600] * 2))
    assert large.status_code == 413
    page = server.metrics.get("/metrics").text
    (counted,) = (line for line in page.splitlines() if line.startswith("Requests4XX{"))
    assert float(counted.split()[-1]) == 3
    assert server.stop() == {"accepted": 2, "answered": 1, "refused": 1, "failed": 0, "gone": 0}
