"""The adaptive policy: greedy, but for the moments in which waiting pays.

Where a batch costs much beyond its requests, greedy has clients who ask one after the other fall into two
groups that alternate for ever: whoever returns first starts a batch, and the others wait for its end.

The time of a worker has a price: the requests that it answers per second. To wait a moment costs that price;
each request that joins is worth one, less what it costs in the batch. (Renewal-reward theorem: cycles of
waiting and computing answer most per second if each goes on while a moment more adds more than the mean.) An
even stream of arrivals never adds more than the mean, so nobody waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torchkeeper.engine.batching.costs import Costs
from torchkeeper.engine.batching.forecast import Forecast
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import (
    Arrived,
    Done,
    Event,
    Lane,
    LaneOf,
    Left,
    Lost,
    Send,
    Sent,
    View,
    WorkerView,
    lane_of,
)
from torchkeeper.engine.batching.turns import free_in

#: Nobody waits for longer than this part of what any batch costs.
PART = 0.9
#: Waiting must be worth so many times what it costs: forecasts are wrong at times.
MARGIN = 1.3
#: Where any batch costs fewer seconds than this nobody waits: the event loop's timers count milliseconds.
WORTH = 0.001
#: It looks again once this part of those who were expected have come: each look takes time of the front.
LOOK = 0.75
#: Lanes of which something is known at once; each description of a model is one of its own.
LANES = 8
#: Requests that are remembered of the lanes: at so many, all that were counted count half.
REMEMBERED = 1024
#: Weight of the newest batch in what is told.
_NEWEST = 1 / 16


class Experience:
    """What was learned of the requests of one lane."""

    __slots__ = ("answered", "costs", "forecast")

    def __init__(self) -> None:
        self.costs = Costs()
        self.forecast = Forecast()
        #: Requests, lately.
        self.answered = 0.0


class Adaptive:
    """Waits with the only idle worker while those who are expected to join gain more than those here lose.

    Args:
        batch_size: requests in a batch at most.
        max_delay: seconds that it may wait.
    """

    def __init__(self, batch_size: int, max_delay: float = math.inf, lane: LaneOf = lane_of) -> None:
        self.lane = lane
        self._batch_size = batch_size
        self._max_delay = max_delay
        self._greedy = Greedy(batch_size)
        self._lanes: dict[Lane, Experience] = {}
        #: Since when it waits; None: it does not. Until when, unless so many are there before.
        self._since: float | None = None
        self._until, self._enough = 0.0, 0
        #: Requests that were not answered yet.
        self._here = 0
        #: Requests that were answered since all that was counted of lanes was halved.
        self._answered = 0
        #: Means, by the names of what is learned.
        self._means: dict[str, float] = {}

    def observe(self, event: Event, now: float) -> None:
        if isinstance(event, Arrived):
            self._here += 1
            lately = self._lately(event.lane)
            if lately.costs.a > WORTH:
                lately.forecast.arrived(now)
        elif isinstance(event, Sent):
            self._sent(event, now)
        elif isinstance(event, Done):
            self._done(event, now)
        elif isinstance(event, Left):
            self._here -= 1
        elif isinstance(event, Lost):
            self._here -= event.count
            for lately in self._lanes.values():
                lately.costs.lost(event.worker_id)

    def _lately(self, lane: Lane) -> Experience:
        if (lately := self._lanes.get(lane)) is None:
            if len(self._lanes) >= LANES:
                del self._lanes[min(self._lanes, key=lambda known: self._lanes[known].answered)]
            lately = self._lanes[lane] = Experience()
        return lately

    def _sent(self, event: Sent, now: float) -> None:
        self._average("wait", 0.0 if self._since is None else now - self._since)
        self._average("fill", event.count / self._batch_size)
        self._since, self._until = None, 0.0

    def _average(self, what: str, newest: float) -> None:
        mean = self._means.get(what, newest)
        self._means[what] = mean + _NEWEST * (newest - mean)

    def _done(self, event: Done, now: float) -> None:
        self._greedy.observe(event, now)
        self._average("concurrency", self._here)
        self._here -= event.count
        self._until = 0.0
        lately = self._lately(event.lane)
        lately.answered += event.count
        self._answered += event.count
        if self._answered > REMEMBERED:
            self._answered = 0
            for known in self._lanes.values():
                known.answered *= 0.5
        lately.costs.took(event.worker_id, event.count, event.seconds)
        if lately.costs.a > WORTH:
            lately.forecast.answered(event.count, now)

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        return None

    def learned(self) -> Mapping[str, float]:
        """As `Policy` says it, of the lane that most requests were in."""
        known = [lately for lately in self._lanes.values() if lately.costs.known]
        if not known:
            return {}
        lately = max(known, key=lambda one: one.answered)
        return {"fixed": lately.costs.a, "each": lately.costs.b, **self._means}

    def decide(self, view: View, now: float) -> Send | float | None:
        decision = self._greedy.decide(view, now)
        if not isinstance(decision, Send) or len(view.lanes) > 1:
            return decision
        idle = [worker for worker in view.workers if worker.batches == 0]
        if len(idle) != 1:
            return decision
        waiting = view.lanes[0].waiting
        if now < self._until and waiting < min(self._enough, view.lanes[0].most):
            return self._until
        if self._since is not None and self._since < view.lanes[0].oldest:
            self._since = None  # those with whom it waited have left
        pause, joining = self._pause(view, idle[0], now)
        if now + pause <= now:
            return decision
        if self._since is None:
            self._since = now
        self._until, self._enough = now + pause, waiting + max(int(LOOK * joining), 1)
        return self._until

    def _pause(self, view: View, idle: WorkerView, now: float) -> tuple[float, float]:
        """Seconds for which it pays to wait with this worker, the others being at work; 0: it goes now.

        And how many are expected to have joined by then.
        """
        lane, workers = view.lanes[0], len(view.workers)
        waiting, lately = lane.waiting, self._lately(lane.lane)
        costs, forecast = lately.costs, lately.forecast
        room = min(self._batch_size, idle.most, lane.most) - waiting
        if costs.a <= WORTH or room <= 0:
            return 0.0, 0.0
        waited = 0.0 if self._since is None else now - self._since
        longest = min(PART * costs.a, self._max_delay) - waited
        alone = costs.seconds(waiting)
        # Requests per second of a worker: what it does lately, or would with those who are here.
        price = max(forecast.rate(now) / workers, waiting / alone)
        worth = 1.0 - price * costs.b
        if workers > 1:
            # Who does not join goes to the next one that is free, and then there are two idle.
            others = (worker for worker in view.workers if worker is not idle)
            soonest = free_in(others, costs.seconds, now)[0]
            longest = min(longest, soonest)
            worth *= min(soonest / alone, 1.0)
        most, pause, joining = 0.0, 0.0, 0.0
        for seconds, number in forecast.expected(now, longest):
            gain = min(number, room) * worth - MARGIN * price * seconds
            if gain > most:
                most, pause, joining = gain, seconds, min(number, room)
        return pause, joining
