"""How often lines are written: at once as long as they come seldom, gathered when they come often. Pure."""

from __future__ import annotations

from math import inf


class Pace:
    """Turns, so many a second on average; after quiet a second's worth of them can be had at once.

    Args:
        per_second: turns in a second.
    """

    __slots__ = ("_booked", "_interval")

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        #: Up to when turns are taken, were they taken one interval after the other.
        self._booked = -inf

    def turn(self, now: float) -> float:
        """Takes the next turn; the seconds until it, 0 if it is now."""
        wait = max(self._booked - 1.0 - now, 0.0)
        self._booked = max(self._booked, now) + self._interval
        return wait
