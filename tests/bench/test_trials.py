"""The trials of bench/reliability.py: what their figures look like, and that a lost request is seen."""

from __future__ import annotations

import socket
import threading

import pytest

from reliability import words
from servebench.trials import CUT, SILENCE, TRIALS, ask


def test_figures_in_words() -> None:
    assert (
        words({"lost per kill": 0.0, "s to full capacity": 0.0879})
        == "0 lost per kill, 0.0879 s to full capacity"
    )


def test_each_row_has_a_name_of_its_own() -> None:
    assert len({name for name, _, _ in TRIALS}) == len(TRIALS)


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n", 503, ""),
        (b"", CUT, ""),
        (None, SILENCE, ""),
    ],
    ids=["an answer", "a refusal", "a connection that ends", "silence"],
)
def test_what_became_of_a_request(reply: bytes | None, status: int, body: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if reply is None:
                    over.wait(60)
                else:
                    connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        found = ask(listener.getsockname()[1], "x", timeout=0.2 if reply is None else 60)
        over.set()
        thread.join()
    assert (found.status, found.body) == (status, body)
    assert found.retry_after == ("1" if status == 503 else None)
