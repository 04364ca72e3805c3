"""When workers are free again, and when a request's turn comes. Pure; times are seconds of one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torchkeeper.engine.batching.policy import WorkerView


def free_in(workers: Iterable[WorkerView], seconds: Callable[[int], float], now: float) -> list[float]:
    """In how many seconds each will have answered what it holds, the soonest first; 0: any moment.

    Args:
        seconds: what a batch of so many requests takes.
    """
    times = []
    for worker in workers:
        left = 0.0
        for place, count in enumerate(worker.held):
            # One that is late may be over any moment; what is prepared behind it takes its own time.
            left += seconds(count) if place else max(worker.begun + seconds(count) - now, 0.0)
        times.append(left)
    return sorted(times)


def begins_in(ahead: int, most: int, busy: Sequence[float], full: float) -> float:
    """Seconds until a worker takes the batch of a request that waits behind `ahead` others.

    Args:
        most: requests that a batch may have.
        busy: in how many seconds each worker will have answered what it holds, the soonest first.
        full: seconds of a full batch.
    """
    turns, place = divmod(ahead // most, len(busy))
    return busy[place] + turns * full
