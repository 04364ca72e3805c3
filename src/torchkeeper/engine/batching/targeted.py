"""Another policy under a latency target: batches are small enough for it, and who would be late is refused.

Late answers help nobody who has a deadline, and those who wait for them make all others late too. So a
request that cannot be answered within the target is refused at once; batches are so small that one which runs
and the next one after it fit into the target, nearly.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torchkeeper.engine.batching.costs import Costs
from torchkeeper.engine.batching.policy import Done, Event, Lane, Lost, Policy, Send, View, WorkerView
from torchkeeper.engine.batching.turns import begins_in, free_in
from torchkeeper.engine.tempo import SHARE

logger = logging.getLogger(__name__)

#: The part of the target that a batch may take. Below a half nobody who comes while a full batch runs is
#: refused, but larger batches answer more per second.
PART = 0.55
#: A batch has at most so many times the requests of the largest one that was seen.
GROWTH = 2
#: The part by which what fits must differ before batches become smaller or larger.
STEADY = 0.1


class Targeted:
    """What it does not decide itself, `policy` does.

    Args:
        batch_size: requests in a batch at most.
        target: seconds in which 99 of 100 requests that were taken are to be answered.
    """

    def __init__(self, policy: Policy, batch_size: int, target: float) -> None:
        self._policy = policy
        self.lane = policy.lane
        self._batch_size, self._target = batch_size, target
        self._costs = Costs()
        #: Requests of the largest batch that was seen, and those that one may have.
        self._largest, self._most = 1, 1
        self._told = False

    def observe(self, event: Event, now: float) -> None:
        self._policy.observe(event, now)
        if isinstance(event, Done):
            self._costs.took(event.worker_id, event.count, event.seconds)
            self._learn(event.count)
        elif isinstance(event, Lost):
            self._costs.lost(event.worker_id)

    def _learn(self, count: int) -> None:
        a, b = self._costs.a, self._costs.b
        self._largest = max(self._largest, count)
        fits = self._batch_size if b <= 0.0 else (PART * self._target - a) / b
        # Who was taken for a batch of five is late if that is one of four when it goes.
        if abs(fits - self._most) > max(STEADY * self._most, 1.0):
            self._most = max(min(int(fits), GROWTH * self._largest, self._batch_size), 1)
        alone = self._costs.seconds(1)
        if not self._told and self._costs.known and alone > self._target:
            self._told = True
            text = "latencyTarget of %.3g ms cannot be met: a batch of one request takes %.3g ms"
            logger.warning(text, self._target * 1000, alone * 1000)

    def learned(self) -> Mapping[str, float]:
        return self._policy.learned()

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        if (why := self._policy.admit(lane, waiting, workers, now, most)) is not None:
            return why
        if not self._costs.known or not workers or any(not worker.batches for worker in workers):
            return None  # nobody knows, or a worker takes it at once
        most = min(self._most, most)
        full = self._costs.seconds(most)
        wait = begins_in(waiting, most, free_in(workers, self._costs.seconds, now), full) + full
        if wait <= SHARE * self._target:
            return None
        return (
            f"{waiting} requests wait already, one more would be answered in about {wait * 1000:.3g} ms; "
            f"latencyTarget is {self._target * 1000:g} ms"
        )

    def decide(self, view: View, now: float) -> Send | float | None:
        decision = self._policy.decide(view, now)
        most = self._most
        idle = next((worker for worker in view.workers if worker.batches == 0), None)
        if isinstance(decision, Send):
            if idle is None and len(view.workers) > 1:
                return None  # what is prepared behind one worker cannot go to another that is free sooner
            return Send(decision.worker_id, min(decision.count, most), decision.lane)
        if decision is None:
            return None
        # It would wait with an idle worker: not for more than fit, and not until the first one is late.
        first = view.lanes[0]
        latest = first.oldest + PART * self._target
        if idle is not None and (first.waiting >= min(most, first.most) or now >= latest):
            return Send(idle.worker_id, most)
        return min(decision, latest) if latest > now else decision
