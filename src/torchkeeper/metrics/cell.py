"""One number (or distribution) under one set of labels: what a request's path adds to.

Kept to plain additions, because each request passes several of them. One thread writes: the event loop's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

from torchkeeper.metrics.java import java_double

#: Upper bounds when nobody chose others: the defaults of Prometheus' clients, TorchServe's among them.
DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Cell(Protocol):
    """A counter, a gauge or a histogram."""

    def update(self, value: float) -> None:
        """Adds to a counter, sets a gauge, observes into a histogram."""

    def update_all(self, values: Sequence[float]) -> None:
        """The same for each of some numbers, of which there is at least one."""

    def take(self) -> float | None:
        """What a log line says of the updates since the last call; None if there were none."""

    def points(self, zeros: bool) -> list[tuple[str, str, float]]:
        """(suffix of the name, upper bound or "", value); nothing before the first update, unless `zeros`."""


class Counter:
    """A sum; a log line says by how much it grew."""

    __slots__ = ("_taken", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._taken = 0.0

    def update(self, value: float) -> None:
        """Adds."""
        self.value += value

    def update_all(self, values: Sequence[float]) -> None:
        """Adds all."""
        self.value += sum(values)

    def take(self) -> float | None:
        """The growth since the last call."""
        growth = self.value - self._taken
        self._taken = self.value
        return growth or None

    def points(self, zeros: bool) -> list[tuple[str, str, float]]:
        """The sum."""
        return [("", "", self.value)] if self.value or zeros else []


class Gauge:
    """The last value."""

    __slots__ = ("_fresh", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._fresh = False

    def update(self, value: float) -> None:
        """Sets."""
        self.value = value
        self._fresh = True

    def update_all(self, values: Sequence[float]) -> None:
        """Sets the last one."""
        self.update(values[-1])

    def take(self) -> float | None:
        """The value, if it was set since the last call."""
        fresh, self._fresh = self._fresh, False
        return self.value if fresh else None

    def points(self, zeros: bool) -> list[tuple[str, str, float]]:
        """The value."""
        return [] if self.value is None else [("", "", self.value)]


class Histogram:
    """How many values fell below each bound, and their sum; a log line says the mean of the new ones."""

    __slots__ = ("_bounds", "_taken", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._taken = (0, 0.0)

    def update(self, value: float) -> None:
        """Observes."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def update_all(self, values: Sequence[float]) -> None:
        """Observes all."""
        counts, bounds = self.counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)

    def take(self) -> float | None:
        """The mean of what was observed since the last call."""
        count, total = sum(self.counts), self.total
        new, grown = count - self._taken[0], total - self._taken[1]
        self._taken = (count, total)
        return grown / new if new else None

    def points(self, zeros: bool) -> list[tuple[str, str, float]]:
        """Cumulative buckets, count and sum, in the order in which TorchServe writes them."""
        found: list[tuple[str, str, float]] = []
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append(("_bucket", java_double(bound), float(below)))
        if not below and not zeros:
            return []
        return [*found, ("_count", "", float(below)), ("_sum", "", self.total)]
