"""A worker and the batches that it holds: when it must have answered, and which readers hold it back.

The first batch runs, the second is prepared. The response timeout counts from the moment a batch is the first
one, and from each part of a streamed answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from torchkeeper.engine.batching import WorkerView
from torchkeeper.engine.queue import Entry
from torchkeeper.engine.stream import Stream
from torchkeeper.worker.pool import Worker
from torchkeeper.worker.supervisor import Event


@dataclass(slots=True)
class InHand:
    """A batch that a worker holds."""

    batch_id: int
    entries: list[Entry]


class Hands:
    """What one worker holds.

    Args:
        timeout: seconds in which a running batch must say something.
        on_timeout: called when it did not.
    """

    __slots__ = ("_deadline", "_full", "_on_timeout", "_timeout", "_timer", "batches", "view", "worker")

    def __init__(self, worker: Worker, timeout: float, on_timeout: Callable[[Hands], None]) -> None:
        self.worker = worker
        self.view = WorkerView(worker.worker_id, 0, time.monotonic())
        self.batches: deque[InHand] = deque()
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._full: set[Stream] = set()

    def take(self, batch: InHand) -> None:
        """One more batch; the worker has been sent it, or is about to be."""
        if not self.batches:
            self.worker.life.on(Event.BATCH, batch.entries[0].arrived)
            self.arm()
        self.batches.append(batch)
        self.view.batches += 1

    def finish(self, now: float) -> tuple[InHand, float]:
        """The running batch, which is answered, and when it, or its last part, began."""
        batch = self.batches.popleft()
        begun = now if self._deadline is None else self._deadline - self._timeout
        self._deadline = None
        self.view.batches -= 1
        self.view.idle_since = now
        if self.batches:
            self.arm()
        else:
            self.worker.life.on(Event.IDLE, now)
        for entry in batch.entries:
            if entry.stream is not None:
                self._let_on(entry.stream)
        return batch, begun

    def drop(self) -> None:
        """The worker is gone: nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()

    # --- the response timeout ----------------------------------------------------------------------------

    def arm(self) -> None:
        """Moves the worker's deadline; its one timer looks at it when it fires, so arming costs nothing."""
        loop = asyncio.get_running_loop()
        self._deadline = time.monotonic() + self._timeout
        if self._timer is None:
            self._timer = loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._deadline is None:
            return
        if time.monotonic() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._on_timer)
        elif self._full:
            for stream in tuple(self._full):  # it is the reader that is late, not the worker
                stream.close()
        else:
            self._on_timeout(self)

    # --- back-pressure -----------------------------------------------------------------------------------

    def hold_back(self, stream: Stream) -> None:
        """Reads nothing from the worker until this stream's reader has caught up."""
        if not self._full:
            self.worker.hold()
        self._full.add(stream)
        stream.on_room = self._let_on

    def _let_on(self, stream: Stream) -> None:
        if stream in self._full:
            self._full.discard(stream)
            if not self._full:
                self.worker.let_on()
                if self.batches:
                    self.arm()
