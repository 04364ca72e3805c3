"""Slowing down whoever guesses keys: an address and the time in, seconds to wait out.

Pure: the clock's reading is handed in, nobody sleeps here. Memory is bounded: ten times per address, a few
thousand addresses, the oldest forgotten first. A slow-down and not a lock-out: many clients may share the
address of one proxy, so a right key always gets through, at most one step late.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv6Address, IPv6Network

#: Failures within WINDOW seconds that cost nothing.
FREE = 10
WINDOW = 60.0
#: Seconds between two further guesses' answers, and the longest that an answer is held back.
STEP = 0.2
LONGEST = 5.0
#: Addresses remembered.
ADDRESSES = 4096


class _Failures:
    """What is remembered of one address: its newest failures, and when the last one is answered."""

    __slots__ = ("due", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=FREE)
        self.due = 0.0

    def slow(self, now: float) -> bool:
        return len(self.times) == FREE and now - self.times[0] <= WINDOW


class Throttle:
    """Who failed lately."""

    def __init__(self) -> None:
        #: By address, the one that failed longest ago first.
        self._known: dict[str, _Failures] = {}

    def __len__(self) -> int:
        return len(self._known)

    def passed(self, address: str, now: float) -> float:
        """Seconds that the answer to a right key waits.

        One step while the address is slowed down: a right guess must not show by being quicker.
        """
        if not self._known:
            return 0.0
        failures = self._known.get(group(address))
        return STEP if failures is not None and self._current(failures, now) and failures.slow(now) else 0.0

    def failed(self, address: str, now: float) -> float:
        """Notes a failed try; returns the seconds that its answer waits.

        Answers to tries that come side by side are spread one step apart, up to the longest wait.
        """
        self._forget(now)
        name = group(address)
        failures = self._known.pop(name, None)
        if failures is None or not self._current(failures, now):
            failures = _Failures()
        self._known[name] = failures
        if len(self._known) > ADDRESSES:
            del self._known[next(iter(self._known))]
        slow = failures.slow(now)
        failures.times.append(now)
        if not slow:
            return 0.0
        failures.due = min(max(failures.due, now) + STEP, now + LONGEST)
        return failures.due - now

    def _forget(self, now: float) -> None:
        """Drops the addresses whose last failure is too old to count."""
        while self._known:
            oldest = next(iter(self._known))
            last = self._known[oldest].times[-1]
            if now - last <= WINDOW:
                return
            del self._known[oldest]

    @staticmethod
    def _current(failures: _Failures, now: float) -> bool:
        """Whether the clock still runs forward; if it was set back, what was noted says nothing."""
        return failures.times[-1] <= now


def group(address: str) -> str:
    """What counts as one address: an IPv6 user has a whole /64, a mapped IPv4 address is itself."""
    if ":" not in address:
        return address
    try:
        number = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = number.ipv4_mapped
    return str(mapped) if mapped is not None else str(IPv6Network((int(number), 64), strict=False))
