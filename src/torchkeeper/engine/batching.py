"""Batching policies: pure objects that say which batches go to which worker now, or when to ask again.

The dispatcher observes for them, asks them and obeys. They see counts and times, never payloads; the clock
is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec


@dataclass(slots=True)
class WorkerView:
    """What a policy knows of a worker: batches in its hands (the second one is prepared, not begun)."""

    worker_id: int
    batches: int = 0
    idle_since: float = 0.0


class View(msgspec.Struct, frozen=True, gc=False):
    """What a policy decides upon. Times are seconds of one monotonic clock."""

    waiting: int
    oldest: float
    workers: Sequence[WorkerView]


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send up to `count` waiting requests to this worker."""

    worker_id: int
    count: int


class Done(msgspec.Struct, frozen=True, gc=False):
    """A batch came back: its size and the worker's own seconds for it."""

    count: int
    seconds: float


class Policy(Protocol):
    """The three questions of the dispatcher."""

    def observe(self, event: Done) -> None:
        """Something happened that later decisions may use."""

    def admit(self, waiting: int, now: float) -> bool:
        """Whether one more request may wait (the queue's own bounds come on top)."""

    def decide(self, view: View, now: float) -> Send | float | None:
        """The next batch to send, the time to ask again, or None: only an event can change the answer."""


#: A batch is prepared behind a running one only if batches are shorter than this (seconds): preparing hides
#: the front's turn-around of about a millisecond, which only short batches notice, and a request prepared
#: behind a long one could not go to a worker that falls idle first.
PREPARE_BELOW = 0.02
#: Weight of the newest batch in the running mean of batch times.
_NEWEST = 0.2


class Greedy:
    """Work-conserving: an idle worker takes what waits at once; batches grow while workers are busy."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._seconds: float | None = None

    def observe(self, event: Done) -> None:
        mean = self._seconds
        self._seconds = event.seconds if mean is None else mean + _NEWEST * (event.seconds - mean)

    def admit(self, waiting: int, now: float) -> bool:
        return True

    def decide(self, view: View, now: float) -> Send | float | None:
        if not view.waiting:
            return None
        second: WorkerView | None = None
        for worker in view.workers:
            if worker.batches == 0:
                return Send(worker.worker_id, self._batch_size)
            if worker.batches == 1 and second is None:
                second = worker
        short = self._seconds is not None and self._seconds < PREPARE_BELOW
        if second is not None and short and view.waiting >= self._batch_size:
            return Send(second.worker_id, self._batch_size)
        return None


class Delay:
    """TorchServe's waiting: a batch goes when it is full or `max_delay` after an idle worker saw its head."""

    def __init__(self, batch_size: int, max_delay: float) -> None:
        self._batch_size = batch_size
        self._max_delay = max_delay

    def observe(self, event: Done) -> None:
        """Nothing to learn: the rule is fixed."""

    def admit(self, waiting: int, now: float) -> bool:
        return True

    def decide(self, view: View, now: float) -> Send | float | None:
        idle = next((worker for worker in view.workers if worker.batches == 0), None)
        if idle is None or not view.waiting:
            return None
        due = max(view.oldest, idle.idle_since) + self._max_delay
        if view.waiting >= self._batch_size or now >= due:
            return Send(idle.worker_id, self._batch_size)
        return due


def make_policy(name: str, batch_size: int, max_batch_delay_ms: float) -> Policy:
    """The policy that model-config.yaml's `batchPolicy` names."""
    if name == "delay":
        return Delay(batch_size, max_batch_delay_ms / 1000)
    return Greedy(batch_size)
