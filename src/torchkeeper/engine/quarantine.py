"""Requests that ended two workers by themselves: copies of them are refused for a while. Pure.

They are known by a digest of what is asked and of the parameters; headers and ids do not count.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from torchkeeper.engine.queue import Entry
from torchkeeper.errors import Quarantined
from torchkeeper.wire.messages import Input

#: Requests that are kept per model version; of more the oldest is forgotten.
MOST = 1000


@dataclass
class Held:
    """A request in quarantine; moments are of a monotonic clock."""

    cause: str
    since: float
    until: float
    #: Copies of it that were refused.
    refused: int = 0


def digest_of(request: Input) -> str:
    """SHA-256 of what is asked and of the parameters, in hexadecimal."""
    digest = hashlib.sha256(f"{int(request.kind)} {request.envelope}\n".encode())
    for part in request.parts:
        for text in (part.name.encode(), (part.content_type or "").encode()):
            digest.update(struct.pack("<Q", len(text)))
            digest.update(text)
        digest.update(struct.pack("<Q", part.size))
        for piece in (part.value, *part.rest):
            digest.update(piece)
    return digest.hexdigest()


class Quarantine:
    """The quarantined requests of a model version.

    Args:
        seconds: how long each is kept; 0: none ever is.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: When the newest one was put here: who came later was checked already.
        self._newest = -math.inf
        #: By their digests, the oldest first.
        self.held: dict[str, Held] = {}

    def put(self, request: Input, cause: str, now: float) -> str | None:
        """Keeps a request that ended two workers, the second by `cause`; its digest, None if none is kept."""
        if self._seconds <= 0:
            return None
        digest = digest_of(request)
        self.held.pop(digest, None)
        self._newest = now
        self.held[digest] = Held(cause, now, now + self._seconds)
        if len(self.held) > MOST:
            del self.held[next(iter(self.held))]
        return digest

    def check(self, request: Input, now: float) -> None:
        """Returns where a request is no copy of one that is kept.

        Raises:
            Quarantined: it is one.
        """
        self._forget(now)
        if not self.held:
            return
        digest = digest_of(request)
        found = self.held.get(digest)
        if found is not None:
            found.refused += 1
            raise Quarantined(digest, found.cause, found.until - now)

    def sift(
        self, entries: Iterable[Entry], now: float
    ) -> tuple[list[Entry], list[tuple[Entry, Quarantined]]]:
        """Those of waiting requests that are no copies, and the copies with their errors."""
        kept, copies = [], []
        for entry in entries:
            try:
                if entry.arrived <= self._newest:
                    self.check(entry.input, now)
            except Quarantined as error:
                copies.append((entry, error))
            else:
                kept.append(entry)
        return kept, copies

    def listed(self, now: float) -> dict[str, Held]:
        """Those that are kept now."""
        self._forget(now)
        return self.held

    def _forget(self, now: float) -> None:
        while self.held and self.held[oldest := next(iter(self.held))].until <= now:
            del self.held[oldest]
