"""What comes over a connection, in one piece and in many: the same requests, or the same refusal."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator

from corpus import cases
from targets.target import Target
from torchkeeper.errors import TorchkeeperError
from torchkeeper.http.course import Phase, Step
from torchkeeper.http.exchange import Exchange
from torchkeeper.http.guests import Guests
from torchkeeper.http.incoming import Incoming
from torchkeeper.http.limits import EdgeLimits

_LIMITS = EdgeLimits(max_body=1000, max_chunks=50, max_connections=100)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Received(Incoming):
    """A connection that nobody answers: what has come over it."""

    def __init__(self) -> None:
        super().__init__(_LIMITS, Guests(_LIMITS))
        self.exchanges: list[tuple[Exchange, bytearray, list[bool]]] = []
        self.refusal: TorchkeeperError | None = None

    def on_headers_complete(self) -> None:
        known = len(self._line)
        super().on_headers_complete()
        if len(self._line) > known:
            self.exchanges.append((self._line[-1], bytearray(), []))

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self.exchanges[-1][1].extend(body)

    def on_message_complete(self) -> None:
        before = self._course.phase
        super().on_message_complete()
        if before is Phase.BODY and self._course.phase is not Phase.BODY:
            self.exchanges[-1][2].append(True)

    def _start(self, exchange: Exchange) -> None: ...

    def _regulate(self) -> None: ...

    def _refuse(self, error: TorchkeeperError) -> None:
        assert self.refusal is None
        self.refusal = error
        self._course.on(Step.REFUSE, self._now)

    def give_up(self, error: TorchkeeperError) -> None:
        self._refuse(error)

    def _leave(self, phase: Phase) -> None: ...

    def told(self) -> tuple[object, ...]:
        """The requests, and what was refused."""
        found: list[object] = []
        for exchange, body, whole in self.exchanges:
            head = exchange.head
            check(head.version, head.method, head.target, head.fields)
            assert len(whole) <= 1
            told = (head.method, head.target, head.version, tuple(head.fields), head.close)
            found.append((told, bytes(body) if whole else None))
        refused = self.refusal
        return (tuple(found), None if refused is None else (refused.status, refused.message))


def check(version: str, method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """What an accepted head must be, however it was spelled."""
    fields = list(fields)
    assert version in ("1.0", "1.1")
    assert _TOKEN.fullmatch(method)
    assert target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")
    assert not re.search(rb"[\x00-\x20\x7f]", target)
    assert all(_TOKEN.fullmatch(name) for name, _ in fields)
    assert not any(_CONTROL.search(value) for _, value in fields)
    hosts = [value for name, value in fields if name.lower() == b"host"]
    assert len(hosts) == 1 or (version == "1.0" and not hosts)
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    assert all(length.isdigit() for length in lengths)


@functools.cache
def sizes(first: int) -> tuple[int, ...]:
    """The pieces that a stream is cut into, over and over."""
    return (1 + first % 5, 1 + first // 5 % 7, 1 + first // 35)


def fed(data: bytes, pieces: tuple[int, ...]) -> tuple[object, ...]:
    """What becomes of bytes that come in pieces of these sizes."""
    received, at, number = Received(), 0, 0
    while at < len(data):
        end = at + pieces[number % len(pieces)]
        received.data_received(data[at:end])
        at, number = end, number + 1
    return received.told()


def run(data: bytes) -> None:
    """The first byte says how the others are cut."""
    if len(data) < 2:
        return
    whole = fed(data[1:], (len(data),))
    assert fed(data[1:], sizes(data[0])) == whole


def seeds() -> Iterator[bytes]:
    for number, case in enumerate(cases()):
        if len(case.sends) <= 2000:
            yield bytes([number % 256]) + case.sends


TARGET = Target(run, seeds, longest=4000)
