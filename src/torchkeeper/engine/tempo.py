"""How fast the requests of a model version are answered, and so how long one more would wait. Pure.

Medians of the last batches, so that one that took long (the first one, say) does not count for many.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from torchkeeper.engine.admission import Full

#: Batches that are remembered.
LAST = 15
#: So many are needed before anything is said.
FEWEST = 3
#: The part of a client's time that a request may be expected to wait: the rest is for its own batch, and for
#: what an estimate is wrong by.
SHARE = 0.8


class Tempo:
    """What the last batches took."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=LAST)
        self._counts: deque[int] = deque(maxlen=LAST)
        #: A worker's seconds per request; None: to be found anew. Of those who are refused there are many.
        self._pace: float | None = None

    def took(self, count: int, seconds: float) -> None:
        """A worker had a batch of `count` requests in hand for so long."""
        self._counts.append(count)
        self._seconds.append(seconds)
        self._pace = None

    def wait(self, ahead: int, workers: int) -> float | None:
        """Seconds until `ahead` requests have been served by so many workers; None: nobody knows."""
        if len(self._counts) < FEWEST or not workers:
            return None
        if self._pace is None:
            self._pace = statistics.median(self._seconds) / statistics.median(self._counts)
        return ahead * self._pace / workers

    def check(self, ahead: int, workers: int, patience: float) -> None:
        """Returns where a client that waits for `patience` seconds can be served behind those ahead.

        Raises:
            Full: it would hardly get its answer in time, and what is computed for it would be lost.
        """
        wait = self.wait(ahead, workers)
        if wait is not None and wait > SHARE * patience:
            raise Full(
                f"{ahead} requests wait already, for about {wait:.3g} s; the client waits for {patience:g} s"
            )

    def retry_after(self, ahead: int, workers: int) -> int:
        """In how many whole seconds those ahead will have been served, as far as is known."""
        return max(math.ceil(self.wait(ahead, workers) or 0.0), 1)
