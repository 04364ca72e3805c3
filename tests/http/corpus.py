"""The corpus of raw requests: its notation, and what h11 makes of each.

A file of `tests/corpus/http` has sections that begin with `#`, and in them a request a line, behind what it
must come to: the statuses of the answers, and whether the connection is kept for a next request. In a request
`~` is a line's end (CRLF), a backslash escapes as in Python, `{x*3}` is xxx, and a `$` at the end means that
the client sends no more. Below a line that begins with `h11:` stand the requests of which h11 thinks
otherwise, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h11

FOLDER = Path(__file__).parents[1] / "corpus" / "http"
_REPEATED = re.compile(r"\{((?:[^{}]|\{[^{}]*\})+)\*(\d+)\}")
#: Statuses of requests that can be read.
READ = (200, 403, 404, 405, 413)


@dataclass(frozen=True)
class Case:
    """One line."""

    place: str
    statuses: tuple[int, ...]
    kept: bool
    text: str
    #: Why h11 thinks otherwise; empty: it does not.
    otherwise: str

    @property
    def sends(self) -> bytes:
        return expanded(self.text.removesuffix("$"))

    @property
    def ends(self) -> bool:
        """Whether the client shuts its sending side."""
        return self.text.endswith("$")

    @property
    def accepted(self) -> bool:
        """Whether all of it is requests."""
        return bool(self.statuses) and all(status in READ for status in self.statuses)


def expanded(text: str) -> bytes:
    """The bytes that a text in the corpus' notation stands for."""
    while (changed := _REPEATED.sub(lambda found: found[1] * int(found[2]), text)) != text:
        text = changed
    return text.replace("~", "\r\n").encode("latin-1").decode("unicode_escape").encode("latin-1")


def cases() -> Iterator[Case]:
    """All lines of all files."""
    for path in sorted(FOLDER.glob("*.txt")):
        otherwise = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith("h11: "):
                otherwise = line.removeprefix("h11: ")
            elif not line or line.startswith("#"):
                otherwise = ""
            else:
                outcome, _, text = line.partition(" | ")
                *statuses, end = outcome.split()
                assert end in ("keep", "close"), line
                yield Case(f"{path.stem}:{number}", tuple(map(int, statuses)), end == "keep", text, otherwise)


def accepted_by_h11(data: bytes) -> bool:
    """Whether all of the bytes are whole requests to h11."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16384)
    connection.receive_data(data)
    connection.receive_data(b"")
    whole = 0
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                whole += 1
            elif event is h11.PAUSED:  # an answer is due, or another protocol is offered
                answer(connection)
            elif isinstance(event, h11.ConnectionClosed):
                return whole > 0
    except h11.RemoteProtocolError:
        return False


def answer(connection: h11.Connection) -> None:
    """Goes on to the next request."""
    status = 405 if connection.their_state is h11.MIGHT_SWITCH_PROTOCOL else 200
    connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.their_state is h11.DONE and connection.our_state is h11.DONE:
        connection.start_next_cycle()
