"""Requests, a queue and workers as events: what a batching policy makes of them, without a second passing.

It asks and obeys the product's own policy objects as the dispatcher does. A batch of n takes a + b n. Times
are seconds. Nothing but the policy decides who goes when.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from torchkeeper.engine.batching.fitting import fitting
from torchkeeper.engine.batching.policy import (
    MOST_IN_HAND,
    Arrived,
    Done,
    LaneView,
    Policy,
    Send,
    Sent,
    View,
    WorkerView,
)

LANE = "predict"
#: A request: when it came, whose it is, its length.
Waiting = tuple[float, int, float]
_ARRIVED = Arrived(LANE)

#: What happens next: a client's request comes, a worker has finished, the policy wanted to be asked again.
_ARRIVAL, _DONE, _WAKE = range(3)


@dataclass(frozen=True)
class Model:
    """What a batch of n requests takes, `a` + `b` n seconds, on how many workers, and how many fit."""

    a: float
    b: float
    workers: int
    batch: int
    #: Standard deviation of a batch's cost, as its part.
    noise: float = 0.02
    #: How often requests have which length, where not all have 1; a batch is padded to the longest.
    lengths: tuple[tuple[float, float], ...] = ()
    #: The lengths that a batch of several requests may have in all; None: any.
    max_cost: float | None = None

    def length(self, random: Random) -> float:
        """That of the next request."""
        if not self.lengths:
            return 1.0
        parts, lengths = zip(*self.lengths, strict=True)
        return random.choices(lengths, parts)[0]

    def seconds(self, n: int, random: Random, longest: float = 1.0) -> float:
        """What this batch takes."""
        mean = self.a + self.b * n * longest
        return mean * max(1.0 + random.gauss(0.0, self.noise), 0.2) if self.noise else mean

    @property
    def capacity(self) -> float:
        """Requests per second that all workers answer in full batches."""
        return self.workers * self.batch / (self.a + self.b * self.batch)


#: The moment of the next request of a client that was answered, or of the stream of arrivals.
Next = Callable[[int, float, Random], float]


@dataclass
class Load:
    """Who asks: the first requests of clients (moment, client), and when each asks again.

    `answered`: a closed loop; it is asked when a client has its answer. Else it is asked at each arrival.
    """

    first: list[tuple[float, int]]
    again: Next
    answered: bool = True


@dataclass
class Outcome:
    """What became of the requests, in the order of their answers."""

    arrived: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    #: Of each its length.
    lengths: list[float] = field(default_factory=list)
    batches: int = 0
    refused: int = 0

    def rate(self, skip: int) -> float:
        """Requests answered per second, but for the first ones."""
        return (len(self.answered) - skip - 1) / (self.answered[-1] - self.answered[skip])

    def latencies(self, skip: int, length: float | None = None) -> list[float]:
        """Seconds from each request (of that length) to its answer, sorted; but for the first ones."""
        found = zip(self.arrived[skip:], self.answered[skip:], self.lengths[skip:], strict=True)
        return sorted(done - came for came, done, long in found if length in (None, long))


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Simulation:
    """One run: a policy, a model, a load, a seed."""

    def __init__(self, policy: Policy, model: Model, load: Load, seed: int) -> None:
        self.policy, self.model, self.load = policy, model, load
        self.random = Random(seed)
        self.outcome = Outcome()
        self._order = count()
        self._events: list[tuple[float, int, int, int]] = []
        self._queue: deque[Waiting] = deque()
        self._views = [WorkerView(number) for number in range(model.workers)]
        self._held: list[deque[tuple[list[Waiting], float]]] = [deque() for _ in self._views]
        self._wake = math.inf
        self._now = 0.0
        #: Clients below this number are of a load that is over.
        self._oldest = 0
        self._newest = 0
        self._begin(load)

    def _at(self, moment: float, kind: int, who: int) -> None:
        heapq.heappush(self._events, (moment, next(self._order), kind, who))

    def _begin(self, load: Load) -> None:
        self.load = load
        for moment, client in load.first:
            self._newest = max(self._newest, self._oldest + client)
            self._at(self._now + moment, _ARRIVAL, self._oldest + client)

    def change(self, load: Load) -> None:
        """From now on others ask: who has not asked yet will not."""
        self._oldest = self._newest + 1
        self._begin(load)

    def run(self, requests: int) -> Outcome:
        """Until so many are answered in all, or nobody asks any more."""
        answered, events = self.outcome.answered, self._events
        while len(answered) < requests and events:
            now, _, kind, who = heapq.heappop(events)
            self._now = now
            if kind == _ARRIVAL:
                if who < self._oldest:
                    continue
                self._arrived(who, now)
            elif kind == _DONE:
                self._finished(who, now)
            elif now != self._wake:
                continue
            self._pump(now)
        return self.outcome

    def _arrived(self, client: int, now: float) -> None:
        if not self.load.answered:
            self._again(client, now)
        waiting, most = len(self._queue), self.model.batch
        if self.policy.admit(LANE, waiting, self._views, now, most) is not None:
            self.outcome.refused += 1
            return
        self._queue.append((now, client, self.model.length(self.random)))
        self.policy.observe(_ARRIVED, now)

    def _again(self, client: int, now: float) -> None:
        if client >= self._oldest:
            moment = self.load.again(client, now, self.random)
            self._at(moment, _ARRIVAL, client)

    def _finished(self, number: int, now: float) -> None:
        held, view = self._held[number], self._views[number]
        entries, seconds = held.popleft()
        view.batches -= 1
        view.held.popleft()
        view.begun = now
        view.idle_since = now
        if held:
            self._at(now + held[0][1], _DONE, number)
        self.policy.observe(Done(number, len(entries), seconds, LANE), now)
        outcome = self.outcome
        outcome.batches += 1
        for came, client, length in entries:
            outcome.lengths.append(length)
            outcome.arrived.append(came)
            outcome.answered.append(now)
            if self.load.answered:
                self._again(client, now)

    def _pump(self, now: float) -> None:
        queue, views, decide = self._queue, self._views, self.policy.decide
        while queue and any(view.batches < MOST_IN_HAND for view in views):
            lane = LaneView(LANE, len(queue), queue[0][0], self._fitting(self.model.batch))
            decision = decide(View((lane,), views), now)
            if isinstance(decision, Send):
                self._send(decision, now)
                continue
            if decision is not None:
                if decision <= now:
                    raise ValueError(f"to ask again at {decision!r}, which is not after {now!r}")
                self._wake = decision
                self._at(decision, _WAKE, 0)
            return

    def _fitting(self, most: int) -> int:
        """Requests that a batch may have, of those who wait and those who may come."""
        bound = self.model.max_cost
        return sys.maxsize if bound is None else fitting((one[2] for one in self._queue), most, bound)

    def _send(self, decision: Send, now: float) -> None:
        number, queue = decision.worker_id, self._queue
        count = min(decision.count, len(queue), self._fitting(decision.count))
        entries = [queue.popleft() for _ in range(count)]
        held = self._held[number]
        seconds = self.model.seconds(len(entries), self.random, max(one[2] for one in entries))
        held.append((entries, seconds))
        view = self._views[number]
        view.batches += 1
        view.held.append(len(entries))
        if len(held) == 1:
            view.begun = now
            self._at(now + seconds, _DONE, number)
        self.policy.observe(Sent(number, LANE, len(entries)), now)
