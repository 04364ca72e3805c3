"""How much time there is, and how it is divided: a hard bound. Pure; the clock is given."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from torchkeeper.tune.refusal import TuneRefused

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
#: Seconds without which nothing can be measured: a server starts, a model loads.
LEAST = 15.0
#: The shares of the time by which the phases are over.
COSTS, RACE, COMPILED, FINAL = 0.25, 0.5, 0.75, 0.9
#: Seconds of one measurement, by the whole time's, at least and at most.
_MEASURED, _SHORTEST, _LONGEST = 1 / 250, 0.3, 3.0


class OutOfTime(Exception):
    """The time for this is up."""


def read_time(text: str) -> float:
    """Seconds, from "10m", "90s", "1h" or a bare number of seconds.

    Raises:
        TuneRefused: it is no time, or too little.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None:
        raise TuneRefused(f"--time {text}: write a time such as 10m, 90s or 1h")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds < LEAST:
        raise TuneRefused(f"--time {text}: nothing can be measured in less than {LEAST:.0f} s")
    return seconds


class Budget:
    """The time that is left."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._begin = clock()

    @property
    def spent(self) -> float:
        """Seconds that are gone."""
        return self._clock() - self._begin

    @property
    def left(self) -> float:
        """Seconds until all is over."""
        return max(self.seconds - self.spent, 0.0)

    @property
    def each(self) -> float:
        """Seconds of one measurement."""
        return min(max(self.seconds * _MEASURED, _SHORTEST), _LONGEST)

    def until(self, share: float) -> float:
        """Seconds until that share of the whole is gone."""
        return max(self.seconds * share - self.spent, 0.0)

    def fits(self, seconds: float, share: float = 1.0) -> bool:
        """Whether that is done by then."""
        return seconds <= self.until(share)
