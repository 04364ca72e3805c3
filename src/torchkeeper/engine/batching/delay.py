"""TorchServe's policy: a batch goes when it is full, or when its first request has waited long enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchkeeper.engine.batching.policy import Event, Lane, LaneOf, Send, View, WorkerView, lane_of


class Delay:
    """A batch goes when it is full or `max_delay` seconds after an idle worker saw its head."""

    def __init__(self, batch_size: int, max_delay: float, lane: LaneOf = lane_of) -> None:
        self.lane = lane
        self._batch_size = batch_size
        self._max_delay = max_delay

    def observe(self, event: Event, now: float) -> None:
        """Nothing to learn: the rule is fixed."""

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        return None

    def learned(self) -> Mapping[str, float]:
        return {}

    def decide(self, view: View, now: float) -> Send | float | None:
        idle = next((worker for worker in view.workers if worker.batches == 0), None)
        if idle is None or not view.lanes:
            return None
        first = view.lanes[0]
        due = max(first.oldest, idle.idle_since) + self._max_delay
        size = min(self._batch_size, idle.most, first.most)
        if first.waiting >= size or now >= due:
            return Send(idle.worker_id, size)
        return due
