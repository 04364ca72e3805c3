"""When a model version gets one worker more or one less: a pure policy, asked once per tick.

TorchServe keeps exactly minWorkers; `autoscale: true` in model-config.yaml lets the number move between
minWorkers and maxWorkers. Up quickly while requests wait, down slowly while a worker has nothing to do. Times
are seconds of one monotonic clock.
"""

from __future__ import annotations

import msgspec

#: Seconds between two questions.
TICK = 0.25
#: A request that waits longer than this asks for a worker.
UP_AFTER = 0.5
#: A new worker gets this long to show what it changes before another one is added.
UP_PAUSE = 2.0
#: A worker goes when at least one was idle, and nothing waited, for this long.
DOWN_AFTER = 30.0


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What the policy sees of a version."""

    #: Seconds that the oldest waiting request has waited; 0 when none waits.
    oldest_wait: float
    #: Workers that serve and have nothing in hand.
    idle: int
    #: Workers there are, serving or starting.
    workers: int
    #: Of these, workers that do not serve yet.
    starting: int


class Autoscale:
    """The number of workers that a version should have, between its bounds."""

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high
        self._last_up = float("-inf")
        self._idle_since: float | None = None

    def decide(self, demand: Demand, now: float) -> int:
        """How many workers there should be now."""
        if demand.workers < self._low:
            return self._low
        if demand.oldest_wait > 0 or demand.idle == 0:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        wants_more = (
            demand.oldest_wait > UP_AFTER and demand.starting == 0 and now - self._last_up >= UP_PAUSE
        )
        if wants_more and demand.workers < self._high:
            self._last_up = now
            return demand.workers + 1
        idle_for = 0.0 if self._idle_since is None else now - self._idle_since
        if idle_for >= DOWN_AFTER and demand.workers > self._low:
            self._idle_since = now
            return demand.workers - 1
        return demand.workers
