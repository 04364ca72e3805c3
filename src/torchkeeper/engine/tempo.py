"""How fast the batches of a model version are answered, and so when one more request would be. Pure.

Medians of the last batches, so that one that took long (the first one, say) does not count for many. What a
batch of any size takes is never guessed too long: at least what smaller ones took, and its share of what
larger ones did. So batches that were not full refuse nobody whom full ones would serve in time.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

from torchkeeper.engine.admission import Full
from torchkeeper.engine.batching.turns import begins_in

#: Batches that are remembered.
LAST = 15
#: So many are needed before anything is said.
FEWEST = 3
#: Seconds for which a batch is remembered, or so many times what it took, where that is longer.
KEPT, KEPT_TIMES = 60.0, 20
#: The part of a client's time in which its answer must be expected: the rest is for what an estimate is wrong
#: by. Under overload all who are taken are expected at the end of it, and some come later than that.
SHARE = 0.9


class Tempo:
    """What the last batches took; `now` is never before what it was."""

    def __init__(self) -> None:
        #: Until when it is remembered, requests, seconds.
        self._batches: deque[tuple[float, int, float]] = deque(maxlen=LAST)
        #: What batches of some sizes take, and their usual size: kept until there is something new, for those
        #: who are refused are many.
        self._known: dict[int, float] = {}
        self._usual: int | None = None

    def took(self, count: int, seconds: float, now: float) -> None:
        """A worker had a batch of `count` requests in hand for so long, until now."""
        self._batches.append((now + max(KEPT, KEPT_TIMES * seconds), count, seconds))
        self._forget_known()

    def forget(self, now: float) -> None:
        """What was long ago says nothing any more; to be called before anything is asked."""
        while self._batches and self._batches[0][0] <= now:
            self._batches.popleft()
            self._forget_known()

    def seconds(self, count: int) -> float:
        """What a batch of `count` requests takes at least, as far as is known; 0: nothing is."""
        if (known := self._known.get(count)) is None:
            smaller = [seconds for _, size, seconds in self._batches if size <= count]
            larger = [seconds * count / size for _, size, seconds in self._batches if size >= count]
            medians = [statistics.median(some) for some in (smaller, larger) if len(some) >= FEWEST]
            known = self._known[count] = max(medians, default=0.0)
        return known

    def answered_in(self, ahead: int, most: int, busy: Sequence[float]) -> float:
        """Seconds until a request is answered behind `ahead` others, as far as is known.

        Args:
            most: requests that a batch may have.
            busy: in how many seconds each worker will have answered what it holds, the soonest first; none:
                one can take it at once, or nobody knows.
        """
        if not busy:
            return 0.0
        if self._usual is None:  # others join its batch, if they are as many as they were
            self._usual = statistics.median_high(size for _, size, _ in self._batches) if self._batches else 1
        own = max(ahead % most + 1, self._usual)
        full = self.seconds(most)
        return begins_in(ahead, most, busy, full) + (full if own >= most else self.seconds(own))

    def check(self, ahead: int, most: int, busy: Sequence[float], patience: float) -> None:
        """Returns where a client that waits for `patience` seconds can be served; the rest is as above.

        Raises:
            Full: it would hardly get its answer in time, and what is computed for it would be lost.
        """
        wait = self.answered_in(ahead, most, busy)
        if wait > SHARE * patience:
            raise Full(
                f"{ahead} requests wait already, one more would be answered in about {wait:.3g} s; "
                f"the client waits for {patience:g} s"
            )

    def retry_after(self, ahead: int, most: int, workers: int) -> int:
        """In how many whole seconds so many workers will have served those ahead, as far as is known."""
        if not workers:
            return 1
        wait = -(-ahead // most) * self.seconds(most) / workers
        return max(math.ceil(round(wait, 3)), 1)  # clocks' differences are not exact

    def _forget_known(self) -> None:
        self._known.clear()
        self._usual = None
