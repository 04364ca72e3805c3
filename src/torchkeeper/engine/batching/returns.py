"""How soon requests follow the answers that clients were given. Pure; times are seconds.

Clients that ask one after the other come back a moment after their answers. Nobody tells who came back: each
request is taken for one of those who have been away for longest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import accumulate

#: Seconds at the end of the first bin; each further one ends at sqrt(2) times as many: the last at 37 s.
SHORTEST = 50e-6
EDGES = tuple(SHORTEST * 2 ** (number / 2) for number in range(40))
#: Returns that are remembered: at so many, all that was counted counts half.
REMEMBERED = 64.0
#: Answers after which those who were away all the time count as gone.
TURNS = 4
#: Answered batches at most whose clients are waited for.
MOST = 32
#: Times below this part of the longest one are not looked at: each takes time of the front.
FINE = 1 / 32


def bin_of(seconds: float) -> int:
    """The bin of a time; what is longer than all of them is in the last one."""
    return min(bisect_left(EDGES, seconds), len(EDGES) - 1)


class Returns:
    """Who is away since which answers, and how long others were away before they came back."""

    def __init__(self) -> None:
        #: When a batch was answered, and how many of its clients are still away; the oldest first.
        self._groups: deque[list[float]] = deque()
        self.away = 0.0
        #: The fewest who were away since some turns began, and how many there were.
        self._fewest = 0.0
        self._turns = 0
        self._counts = [0.0] * len(EDGES)
        self._total = 0.0
        #: The part of the times below each edge; None: to be computed anew.
        self._below: list[float] | None = None

    def answered(self, count: int, now: float) -> None:
        """So many clients have their answers."""
        self._fewest = min(self._fewest, self.away)
        self._turns += 1
        if self._turns == TURNS:
            self._take(self._fewest)
            self._turns, self._fewest = 0, self.away
        self._groups.append([now, count])
        self.away += count
        if len(self._groups) > MOST:
            self._take(self._groups[0][1])

    def arrived(self, now: float) -> None:
        """Somebody asks."""
        if not self._groups:
            return
        self._counts[bin_of(now - self._groups[0][0])] += 1.0
        self._total += 1.0
        if self._total > REMEMBERED:
            self._counts = [0.5 * count for count in self._counts]
            self._total *= 0.5
        self._below = None
        self._take(1.0)

    def _take(self, count: float) -> None:
        """So many of those who have been away for longest are not any more, or never come."""
        self.away -= count
        while count > 0.0:
            oldest = self._groups[0]
            some = min(oldest[1], count)
            oldest[1] -= some
            count -= some
            if oldest[1] <= 0.0:
                self._groups.popleft()

    def expected(self, now: float, longest: float) -> list[tuple[float, float]]:
        """How many of those away will be back in how many seconds from now: growing, up to `longest`."""
        if self._below is None:
            total = self._total or 1.0
            self._below = [count / total for count in accumulate(self._counts)]
        below, away = self._below, []
        for moment, count in self._groups:
            age = now - moment
            back = _share(age, below)
            if back < 1.0:
                away.append((age, back, count / (1.0 - back)))
        if not away:
            return []
        edges = EDGES[bisect_left(EDGES, FINE * longest) : bisect_right(EDGES, longest)]
        return [
            (edge, sum(count * (_share(age + edge, below) - back) for age, back, count in away))
            for edge in edges
        ]


def _share(seconds: float, below: list[float]) -> float:
    """The part of the times that are shorter; even within a bin."""
    number = bin_of(seconds)
    if number == 0:
        return below[0] * max(seconds, 0.0) / SHORTEST
    low, before = EDGES[number - 1], below[number - 1]
    part = (seconds - low) / (EDGES[number] - low)
    return before + (below[number] - before) * min(part, 1.0)
