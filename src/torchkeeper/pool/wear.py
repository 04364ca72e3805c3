"""How a worker wears out: the requests that it has answered, and the memory that it took meanwhile. Pure.

The growth per request is the Theil-Sen estimator, the median of the slopes between all pairs of samples: a
cache that fills at first, or one batch that takes much, does not pass for a leak.
"""

from __future__ import annotations

import statistics
from itertools import combinations

#: Samples that are kept: of more, every second one goes, and new ones come half as often from then on.
MOST = 64
#: Below these an estimate would be a guess.
_LEAST_SAMPLES = 8
_LEAST_REQUESTS = 100


class Wear:
    """Samples of one worker's process."""

    def __init__(self, loaded: int = 0) -> None:
        """`loaded` are the bytes that it had as soon as it had loaded the model."""
        self.loaded = loaded
        #: Requests answered, and bytes of its resident set.
        self._samples: list[tuple[int, int]] = []
        self._every = 1
        self._looks = 0

    def sample(self, requests: int, resident: int) -> None:
        """Takes what holds now; nothing is learned from a moment since which no request was answered."""
        if self._samples and requests <= self._samples[-1][0]:
            return
        self._looks += 1
        if self._looks % self._every:
            return
        self._samples.append((requests, resident))
        if len(self._samples) > MOST:
            self._samples = self._samples[::2]
            self._every *= 2

    def growth(self) -> float | None:
        """Bytes per request; None as long as too little is known."""
        if len(self._samples) < _LEAST_SAMPLES:
            return None
        if self._samples[-1][0] - self._samples[0][0] < _LEAST_REQUESTS:
            return None
        return statistics.median(
            (bytes_2 - bytes_1) / (requests_2 - requests_1)
            for (requests_1, bytes_1), (requests_2, bytes_2) in combinations(self._samples, 2)
        )


def worn(requests: int, resident: int, *, loaded: int, most_requests: int, most_resident: int) -> str | None:
    """Why a worker is to be replaced, if it is; 0 as a bound is none. Sizes are bytes.

    Memory that it had as soon as it had `loaded` is no wear: the next one would have it too.
    """
    if most_requests and requests >= most_requests:
        return f"it has answered {requests} requests (maxRequestsPerWorker: {most_requests})"
    if most_resident and resident > most_resident >= loaded:
        held, bound = resident / 1e6, most_resident / 1e6
        return f"it holds {held:.0f} MB of memory (maxWorkerRss: {bound:.0f} MB)"
    return None
