"""What the workers have in hand, and since when, and so when they are free again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from torchkeeper.engine.batching.policy import Lane


class Running:
    """Batches by worker, the running one first; times are seconds."""

    def __init__(self) -> None:
        self._held: dict[int, deque[tuple[Lane, int]]] = {}
        #: Since when the first batch of each worker runs.
        self._since: dict[int, float] = {}

    def sent(self, worker_id: int, lane: Lane, count: int, now: float) -> None:
        """A batch went to a worker."""
        held = self._held.setdefault(worker_id, deque())
        if not held:
            self._since[worker_id] = now
        held.append((lane, count))

    def done(self, worker_id: int, now: float) -> Lane:
        """The first batch of a worker came back: its lane, None where nobody knows of it."""
        held = self._held.get(worker_id)
        if not held:
            return None
        self._since[worker_id] = now
        return held.popleft()[0]

    def lost(self, worker_id: int) -> None:
        """A worker is gone."""
        self._held.pop(worker_id, None)

    def left(self, seconds: Callable[[int], float], now: float) -> list[float]:
        """In how many seconds each worker that computes is free, the soonest first; 0: any moment.

        Args:
            seconds: what a batch of so many takes.
        """
        return sorted(
            max(self._since[worker_id] + sum(seconds(count) for _, count in held) - now, 0.0)
            for worker_id, held in self._held.items()
            if held
        )
