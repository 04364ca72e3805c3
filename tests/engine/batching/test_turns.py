"""When workers are free, and when a request's turn comes: by table."""

from __future__ import annotations

from collections import deque

import pytest

from torchkeeper.engine.batching.policy import WorkerView
from torchkeeper.engine.batching.turns import begins_in, free_in


def worker(begun: float, *held: int) -> WorkerView:
    return WorkerView(0, len(held), held=deque(held), begun=begun)


@pytest.mark.parametrize(
    ("workers", "now", "times"),
    [
        ([], 0.0, []),
        ([worker(0.0)], 5.0, [0.0]),
        ([worker(0.0, 4), worker(1.0, 2)], 1.5, [2.5, 3.5]),
        ([worker(1.0, 2), worker(0.0, 4)], 1.5, [2.5, 3.5]),
        ([worker(0.0, 1, 2)], 0.5, [1.5 + 3.0]),
        ([worker(0.0, 1)], 9.0, [0.0]),
        ([worker(0.0, 1, 2)], 9.0, [3.0]),
    ],
    ids=[
        "nobody",
        "one has nothing in hand",
        "the soonest first",
        "whatever the order",
        "what is prepared comes after",
        "one is late",
        "what is prepared behind a late one takes its own time",
    ],
)
def test_free_in(workers: list[WorkerView], now: float, times: list[float]) -> None:
    """A batch of n takes 1 + n seconds."""
    assert free_in(workers, lambda count: 1.0 + count, now) == pytest.approx(times)


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(0, 2.0), (3, 2.0), (4, 5.0), (8, 12.0), (15, 15.0), (16, 22.0)]
)
def test_begins_in(ahead: int, seconds: float) -> None:
    assert begins_in(ahead, 4, [2.0, 5.0], full=10.0) == seconds
