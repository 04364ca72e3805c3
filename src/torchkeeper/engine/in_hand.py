"""A worker and the batches that it holds: when it must have answered, and which readers hold it back.

The first batch runs, the second is prepared. The response timeout counts from the moment a batch is the first
one, and from each part of a streamed answer.

Who reads a stream slowly holds back its own answer, not the others of its batch: the worker waits only while
every reader is behind, or for a moment where one is so far behind that its stream would fill the memory. One
that does not catch up meanwhile gets no more of its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torchkeeper.engine.batching.policy import WorkerView
from torchkeeper.engine.queue import Entry
from torchkeeper.pool.worker import Worker
from torchkeeper.wire.frames import Outcome, ReplyHead, WireError, decode_replies

#: Seconds that readers who keep up wait, at most, for one of their batch whose stream is overfull.
GRACE = 1.0


@dataclass(slots=True)
class InHand:
    """A batch that a worker holds."""

    batch_id: int
    entries: list[Entry]
    #: When it became the worker's first one.
    begun: float = 0.0

    def told(
        self, heads: Sequence[ReplyHead | None], raw: bytes, *, whole: bool
    ) -> list[tuple[Entry, Outcome]]:
        """What the worker says of those requests whose clients wait; `whole`: it must say it of each.

        Raises:
            WireError: it does not, or of others.
        """
        outcomes = decode_replies(heads, raw)
        if len(outcomes) != len(self.entries):
            raise WireError(f"{len(outcomes)} answers to a batch of {len(self.entries)} requests")
        found = [pair for pair in zip(self.entries, outcomes, strict=True) if not pair[0].gone]
        if whole and any(outcome is None for _, outcome in found):
            raise WireError("no answer to a request whose client waits")
        return found


class Hands:
    """What one worker holds.

    Args:
        timeout: seconds in which a running batch must say something.
        on_timeout: called when it did not.
        on_slow: called with a request whose answer is not read in time.
    """

    __slots__ = (
        *("_deadline", "_holding", "_on_slow", "_on_timeout", "_patience", "_timeout", "_timer"),
        *("batches", "view", "worker"),
    )

    def __init__(
        self,
        worker: Worker,
        timeout: float,
        on_timeout: Callable[[Hands], None],
        on_slow: Callable[[Hands, Entry], None],
    ) -> None:
        self.worker = worker
        worker.in_flight = self._running
        self.view = WorkerView(worker.worker_id, 0, time.monotonic())
        self.batches: deque[InHand] = deque()
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._on_slow = on_slow
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: How long the worker waits for readers; None: it does not.
        self._patience: float | None = None
        self._holding: asyncio.TimerHandle | None = None

    def _running(self) -> list[str]:
        """The ids of the requests of the running batch."""
        return [entry.input.request_id for entry in self.batches[0].entries] if self.batches else []

    def take(self, batch: InHand) -> None:
        """One more batch; the worker has been sent it, or is about to be."""
        if not self.batches:
            batch.begun = self.view.begun = time.monotonic()
            self.worker.took()
            self.arm()
        self.batches.append(batch)
        self.view.batches += 1
        self.view.held.append(len(batch.entries))

    def finish(self, now: float) -> InHand:
        """The running batch, which is answered."""
        batch = self.batches.popleft()
        self.worker.answered += len(batch.entries)
        self._deadline = None
        self.view.batches -= 1
        self.view.held.popleft()
        self.view.idle_since = now
        if self.batches:
            self.batches[0].begun = self.view.begun = now
            self.arm()
        else:
            self.worker.freed()
        if self._patience is not None:
            self.regulate()
        return batch

    def drop(self) -> list[InHand]:
        """The worker is gone: what it held; nothing is waited for any more."""
        for timer in (self._timer, self._holding):
            if timer is not None:
                timer.cancel()
        self._patience = None
        held = list(self.batches)
        self.batches.clear()
        return held

    # --- the response timeout ----------------------------------------------------------------------------

    def arm(self) -> None:
        """Moves the worker's deadline; its one timer looks at it when it fires, so arming costs nothing."""
        if self._patience is not None:
            return  # it is the readers that are late, not the worker
        self._deadline = time.monotonic() + self._timeout
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if time.monotonic() < self._deadline:
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._on_timer)
        else:
            self._on_timeout(self)

    # --- back-pressure -----------------------------------------------------------------------------------

    def regulate(self) -> None:
        """Reads on from the worker, or not; called when a reader of the batch fell behind or caught up."""
        _, patience = self._late()
        if patience == self._patience:
            return
        before, self._patience = self._patience, patience
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        if patience is not None:
            if before is None:
                self.worker.hold()
                self._deadline = None
            self._holding = asyncio.get_running_loop().call_later(patience, self._give_up)
        else:
            self.worker.let_on()
            if self.batches:
                self.arm()

    def _late(self) -> tuple[list[Entry], float | None]:
        """Whom the worker waits for, and how long; None where it need not."""
        living = [entry for entry in self.batches[0].entries if not entry.gone] if self.batches else []
        full = [entry for entry in living if entry.stream is not None and entry.stream.full]
        if full and len(full) == len(living):
            return full, self._timeout
        overfull = [entry for entry in full if entry.stream is not None and entry.stream.overfull]
        # Never the same number as above: when one wait follows the other, it counts anew.
        return overfull, min(GRACE, self._timeout / 2) if overfull else None

    def _give_up(self) -> None:
        for entry in self._late()[0]:
            self._on_slow(self, entry)
