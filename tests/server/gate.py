"""A handler that stops until it is let on, and clients of it on connections of their own."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from servers import Server

HANDLER = """
def handle(data, context):
    if data is None:
        return None
    names = [bytes(row["body"]).decode() for row in data]
    with open({record!r}, "a") as record:
        record.write(" ".join(names) + "\\n")
    if "wait" in names[0]:
        with open({began!r}, "wb") as began:
            began.write(b"x")
        with open({may_end!r}, "rb", buffering=0) as may_end:
            may_end.read(1)
    return names
"""


class Gate:
    """A handler that records what it computes, and that stops at bodies with `wait` until it is let on."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "record"
        pipes = {name: folder / name for name in ("began", "may_end")}
        for path in pipes.values():
            os.mkfifo(path)
        # Open in both directions, so that nobody waits for the other side when opening it.
        self._began, self._may_end = (os.open(path, os.O_RDWR) for path in pipes.values())
        self.handler = HANDLER.format(
            record=str(self._record), **{name: str(path) for name, path in pipes.items()}
        )

    def wait_until_it_computes(self) -> None:
        ready, _, _ = select.select([self._began], [], [], 60)
        assert ready, "the handler never got the request"
        os.read(self._began, 1)

    def let_on(self) -> None:
        os.write(self._may_end, b"x")

    def batches(self) -> list[str]:
        return self._record.read_text().splitlines()

    def close(self) -> None:
        os.close(self._began)
        os.close(self._may_end)


class Client:
    """One request on a connection of its own."""

    def __init__(self, server: Server, body: bytes, headers: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        head = f"POST /predictions/gate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        settle(server)

    def leave(self, server: Server) -> None:
        """Goes at once, without reading, as a client does that is interrupted."""
        self._socket.close()
        settle(server)

    def answer(self) -> tuple[int, bytes]:
        """Status and body."""
        received = b""
        while data := self._socket.recv(65536):
            received += data
        self._socket.close()
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def settle(server: Server) -> None:
    """Returns when the server has seen all that was sent before.

    Its one event loop may take a ping before what came earlier only if both came to the same turn of it.
    """
    for _ in range(2):
        assert server.client.get("/ping").status_code == 200
