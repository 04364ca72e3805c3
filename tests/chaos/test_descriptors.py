"""No descriptor is left: who is connected is served, nothing turns in circles, all is well later."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from scene import calm, server_of, settle  # type: ignore[import-not-found]

from servers import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed"),
]

MOST = 192


@contextmanager
def crowd(server: Server) -> Iterator[None]:
    """Connections to all ports, more than the server can have."""
    with ExitStack() as stack:
        for port in (server.port, server.manage.base_url.port, int(server.grpc.rpartition(":")[2])):
            for _ in range(MOST):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    sock.connect(("127.0.0.1", port))
        yield


def test_descriptors_that_are_used_up_end_nothing(tmp_path: Path) -> None:
    server = server_of(tmp_path, prefix=("prlimit", f"--nofile={MOST}:{MOST}"))
    front = psutil.Process(server.process.pid)
    server.manage.get("/models")
    before = calm(server)
    with crowd(server):
        deadline = time.monotonic() + 60
        while front.num_fds() < MOST - 2:
            assert time.monotonic() < deadline, f"{front.num_fds()} descriptors of {MOST}"
        for number in range(20):  # over a connection that was there before
            body = f"number {number}"
            assert server.client.post("/predictions/echo", content=body).text == body
        answer = server.manage.post("/models", params={"url": "other-1.0.mar", "initial_workers": 1})
        assert answer.status_code == 503, answer.text
        assert "Too many open files" in answer.json()["message"]
        busy, begin = sum(front.cpu_times()[:2]), time.monotonic()
        time.sleep(1)  # what it does where there is nothing to do
        share = (sum(front.cpu_times()[:2]) - busy) / (time.monotonic() - begin)
        assert share < 0.5, f"{share:.0%} of a core for nothing"
    with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
        assert client.post("/predictions/echo", content=b"again").text == "again"
    # What could not be removed without a descriptor goes with the next model that does.
    registered = server.manage.post(
        "/models", params={"url": "other-1.0.mar", "initial_workers": 1, "synchronous": "true"}
    )
    assert registered.status_code == 200, registered.text
    assert server.manage.delete("/models/other").status_code == 200
    settle(server, before)
    server.stop()
