"""The default policy, greedy: no worker is idle while a request waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchkeeper.engine.batching.policy import Done, Event, Lane, LaneOf, Send, View, WorkerView, lane_of

#: A batch is prepared behind a running one only if batches are shorter than this (seconds): preparing hides
#: the front's turn-around of about a millisecond, which only short batches notice, and a request prepared
#: behind a long one could not go to a worker that falls idle first.
PREPARE_BELOW = 0.02
#: The same where there is no other worker that could fall idle. Behind batches that are longer still a
#: prepared request would wait where its age is not looked at.
PREPARE_ALONE = 0.1
#: Weight of the newest batch in the running mean of batch times.
_NEWEST = 0.2


class Greedy:
    """Work-conserving: an idle worker takes what waits at once; batches grow while workers are busy."""

    def __init__(self, batch_size: int, lane: LaneOf = lane_of) -> None:
        self.lane = lane
        self._batch_size = batch_size
        self._seconds: float | None = None

    def observe(self, event: Event, now: float) -> None:
        if isinstance(event, Done):
            mean = self._seconds
            self._seconds = event.seconds if mean is None else mean + _NEWEST * (event.seconds - mean)

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        return None

    def learned(self) -> Mapping[str, float]:
        return {}

    def decide(self, view: View, now: float) -> Send | float | None:
        if not view.lanes:
            return None
        second: WorkerView | None = None
        for worker in view.workers:
            if worker.batches == 0:
                return Send(worker.worker_id, self._batch_size)
            if worker.batches == 1 and second is None:
                second = worker
        below = PREPARE_BELOW if len(view.workers) > 1 else PREPARE_ALONE
        short = self._seconds is not None and self._seconds < below
        if second is not None and short:
            size = min(self._batch_size, second.most, view.lanes[0].most)
            if view.lanes[0].waiting >= size:
                return Send(second.worker_id, size)
        return None
