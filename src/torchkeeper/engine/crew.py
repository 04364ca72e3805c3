"""The workers of a version that hold batches: some serve, others answer what they hold and leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torchkeeper.engine.batch_bound import BatchBound
from torchkeeper.engine.batching.policy import MOST_IN_HAND, WorkerView
from torchkeeper.engine.batching.turns import free_in
from torchkeeper.engine.in_hand import Hands, InHand
from torchkeeper.engine.queue import Entry
from torchkeeper.pool.worker import Worker

logger = logging.getLogger(__name__)

#: Weight of the newest batch in the mean of those behind which others waited.
_NEWEST = 0.1


class Crew:
    """Hands by worker; `batch_size` requests may be in a batch, `auto`: as many as its worker says."""

    def __init__(self, batch_size: int, *, auto: bool = False) -> None:
        self._batch_size = batch_size
        self._auto = auto
        #: Whether the log says already why a batch has one request.
        self._told = False
        #: Those that serve, by their workers' ids; changed here only.
        self.serving: dict[int, Hands] = {}
        self._leaving: dict[int, Hands] = {}
        #: Of those that serve.
        self._views: list[WorkerView] = []
        #: By the device whose memory did not suffice for a whole batch.
        self._bounds: dict[int | None, BatchBound] = {}
        #: Requests of a batch behind which others wait, lately: costs and shapes may keep it small.
        self.usual = batch_size
        self._lately = float(batch_size)

    def join(self, hands: Hands) -> None:
        """A worker serves from now on."""
        self._bind(hands)
        if self._auto:
            self._tell(hands.worker)
        self.serving[hands.worker.worker_id] = hands
        self._look()

    def _bind(self, hands: Hands) -> None:
        """Gives a worker its bound: what its warm-up has shown, or what the memory suffices for."""
        most = self._batch_size
        if self._auto:
            said = hands.worker.together
            most = 1 if said is None else max(min(said.most, most), 1)
        bound = self._bounds.get(hands.worker.spec.gpu_id)
        hands.view.most = most if bound is None else min(most, bound.most)

    def _tell(self, worker: Worker) -> None:
        said = worker.together
        if said is not None and said.why and not self._told:
            self._told = True
            text = "%s: batchSize: auto stays at 1: %s"
            logger.warning(text, worker.name, said.why, extra=worker.known)

    def took(self, count: int, *, more: bool) -> None:
        """A batch of `count` was taken, of requests that may not go all together; `more` wait."""
        if more or count > self._lately:
            self._lately += _NEWEST * (count - self._lately)
            self.usual = max(round(self._lately), 1)

    def finished(self, worker: Worker, count: int, too_large: int) -> None:
        """A batch of `count` is answered; `too_large`: of so many at once, the memory did not suffice.

        Not even for one: that says nothing of batches, neither that one fitted nor that a smaller one would.
        """
        device = worker.spec.gpu_id
        bound = self._bounds.get(device)
        if too_large > 1:
            if bound is None:
                bound = self._bounds[device] = BatchBound(self._batch_size, self._batch_size)
            text = "%s memory did not suffice for a batch of %d: batches have %d requests at most from now on"
            changed, level = bound.failed(too_large - 1), logging.WARNING
        elif too_large or bound is None:
            return
        else:
            text = "%s memory suffices for batches of %d: they may have %d requests from now on"
            changed, level = bound.fitted(count), logging.INFO
        if not changed:
            return
        where = "the CPU's" if device is None else f"GPU {device}'s"
        logger.log(level, text, where, too_large or count, bound.most, extra=worker.known)
        for hands in self._all():
            if hands.worker.spec.gpu_id == device:
                self._bind(hands)

    def dismiss(self, worker_id: int) -> None:
        """A worker gets nothing more."""
        hands = self.serving.pop(worker_id, None)
        if hands is not None:
            self._leaving[worker_id] = hands
            self._look()

    def lose(self, worker_id: int) -> Hands | None:
        """A worker is gone; what it had in hand."""
        hands = self.serving.pop(worker_id, None) or self._leaving.pop(worker_id, None)
        self._look()
        return hands

    def find(self, worker_id: int) -> Hands | None:
        """A worker that serves or leaves."""
        return self.serving.get(worker_id) or self._leaving.get(worker_id)

    def views(self) -> Sequence[WorkerView]:
        """What a policy may know of those that serve."""
        return self._views

    def _look(self) -> None:
        self._views = [hands.view for hands in self.serving.values()]

    def idle(self) -> Iterator[Hands]:
        """Those that serve and have nothing in hand."""
        return (hands for hands in self.serving.values() if not hands.batches)

    def free_places(self) -> int:
        """Requests that would still fit into batches: into those that run, and one for each idle worker."""
        return sum(
            max(min(self._batch_size, hands.view.most) - len(batch.entries if batch is not None else ()), 0)
            for hands in self.serving.values()
            for batch in hands.batches or (None,)
        )

    @property
    def most(self) -> int:
        """Requests that a batch may have with the worker that may have most; as many as they had lately."""
        if not self._bounds and not self._auto:
            return self.usual
        mosts = (min(hands.view.most, self.usual) for hands in self.serving.values())
        return max(mosts, default=1 if self._auto else self.usual)

    def busy_for(self, now: float, seconds: Callable[[int], float]) -> list[float]:
        """In how many seconds each that serves will have answered what it holds, the soonest first.

        None are said where one has nothing in hand, or nobody serves.

        Args:
            seconds: what a batch of so many requests takes.
        """
        if any(not view.batches for view in self._views):
            return []
        return free_in(self._views, seconds, now)

    @property
    def full(self) -> bool:
        """Whether some serve, and none of them takes another batch."""
        for hands in self.serving.values():
            if hands.view.batches < MOST_IN_HAND:
                return False
        return bool(self.serving)

    @property
    def busy(self) -> bool:
        """Whether anybody has anything in hand."""
        return any(hands.batches for hands in self._all())

    def entries(self) -> list[Entry]:
        """All that is in anybody's hands."""
        return [entry for hands in self._all() for batch in hands.batches for entry in batch.entries]

    def holder(self, ticket: asyncio.Future[Any]) -> tuple[Hands, InHand, int] | None:
        """In whose hands, in which batch and at which place of it a request is."""
        for hands in self._all():
            for batch in hands.batches:
                for place, entry in enumerate(batch.entries):
                    if entry.ticket is ticket:
                        return hands, batch, place
        return None

    def _all(self) -> tuple[Hands, ...]:
        return (*self.serving.values(), *self._leaving.values())
