"""The workers of a version that hold batches: some serve, others answer what they hold and leave."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

from torchkeeper.engine.batching.policy import MOST_IN_HAND, WorkerView
from torchkeeper.engine.in_hand import Hands, InHand
from torchkeeper.engine.queue import Entry
from torchkeeper.pool.worker import Worker

logger = logging.getLogger(__name__)


class Crew:
    """Hands by worker."""

    def __init__(self) -> None:
        #: Those that serve, by their workers' ids; changed here only.
        self.serving: dict[int, Hands] = {}
        self._leaving: dict[int, Hands] = {}
        #: Requests that a batch may have, by the device whose memory did not suffice for more.
        self._most: dict[int | None, int] = {}

    def join(self, hands: Hands) -> None:
        """A worker serves from now on."""
        hands.most = self._most.get(hands.worker.spec.gpu_id, hands.most)
        self.serving[hands.worker.worker_id] = hands

    def bound(self, worker: Worker, most: int) -> None:
        """The memory of a worker's device did not suffice for a batch, but for `most` of its requests."""
        device = worker.spec.gpu_id
        if most >= self._most.get(device, sys.maxsize):
            return
        self._most[device] = most
        where = "the CPU's" if device is None else f"GPU {device}'s"
        text = "%s memory did not suffice for a batch of %d: batches have %d requests at most from now on"
        logger.warning(text, where, most + 1, most, extra=worker.known)
        for hands in self._all():
            if hands.worker.spec.gpu_id == device:
                hands.most = most

    def dismiss(self, worker_id: int) -> None:
        """A worker gets nothing more."""
        hands = self.serving.pop(worker_id, None)
        if hands is not None:
            self._leaving[worker_id] = hands

    def lose(self, worker_id: int) -> Hands | None:
        """A worker is gone; what it had in hand."""
        return self.serving.pop(worker_id, None) or self._leaving.pop(worker_id, None)

    def find(self, worker_id: int) -> Hands | None:
        """A worker that serves or leaves."""
        return self.serving.get(worker_id) or self._leaving.get(worker_id)

    def views(self) -> list[WorkerView]:
        """What a policy may know of those that serve."""
        return [hands.view for hands in self.serving.values()]

    def idle(self) -> Iterator[Hands]:
        """Those that serve and have nothing in hand."""
        return (hands for hands in self.serving.values() if not hands.batches)

    def free_places(self, batch_size: int) -> int:
        """Requests that would still fit into batches: into those that run, and one for each idle worker."""
        return sum(
            batch_size - len(batch.entries) if batch is not None else batch_size
            for hands in self.serving.values()
            for batch in hands.batches or (None,)
        )

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
