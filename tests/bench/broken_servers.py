"""Small servers that do what a trial is to notice: they lose, swap, keep or let in what they must not."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What a server says to a request's bytes; None: nothing, and the connection stays open.
Answers = Callable[[bytes], bytes | None]


def reply(body: str, status: int = 200, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} x\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def whole(data: bytes) -> bool:
    """Whether it is a request with all of its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


@contextmanager
def broken(answers: Answers) -> Iterator[int]:
    """A server that answers each connection's first request so; its port."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            data = b""
            while not whole(data) and (more := connection.recv(1 << 16)):
                data += more
            said = answers(data)
            if said is None:
                over.wait(60)
            else:
                connection.sendall(said)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=400) as listener:
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()
