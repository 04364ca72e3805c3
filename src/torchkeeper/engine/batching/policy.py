"""What a batching policy is asked and told, and what it may decide.

The dispatcher tells it what happens, asks it and obeys, once the decision has been checked. A policy sees
counts, times and lanes, never payloads; the clock is an argument. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from torchkeeper.wire.messages import Input, Kind

#: What requests that may share a batch have in common.
Lane = Hashable
#: The lane of a request.
LaneOf = Callable[[Input], Lane]
#: Batches that a worker may hold: one runs, one is prepared.
MOST_IN_HAND = 2

# Looked up for every request, and members of an enum are slow to find.
_DESCRIBE, _PREDICT = Kind.DESCRIBE, Kind.PREDICT


def lane_of(request: Input) -> Lane:
    """The lane of policies that know no other rule: one kind and one envelope; a description goes alone."""
    if request.kind is _DESCRIBE:
        return request.kind, request.request_id
    return request.kind, request.envelope


def proved_lane(request: Input) -> Lane:
    """The lane where warm-up has shown who may share a batch: it asks for predictions only."""
    if request.kind is not _PREDICT:
        return request.kind, request.request_id
    return lane_of(request)


class LaneView(msgspec.Struct, frozen=True, gc=False):
    """A lane in which requests wait: how many, and when the one arrived that goes next."""

    lane: Lane
    waiting: int
    oldest: float
    #: Requests that a batch of it may have where their costs are bounded: of those who wait as many as fit,
    #: and if all do, as many more as would with the mean of their costs.
    most: int = sys.maxsize


@dataclass(slots=True)
class WorkerView:
    """What a policy knows of a worker: batches in its hands (the second one is prepared, not begun)."""

    worker_id: int
    batches: int = 0
    idle_since: float = 0.0
    #: Requests that a batch may have for it, where that may be less than the model's batchSize.
    most: int = sys.maxsize
    #: Requests of each of its batches, and since when the first one runs.
    held: deque[int] = field(default_factory=deque)
    begun: float = 0.0


class View(msgspec.Struct, frozen=True, gc=False):
    """What a policy decides upon: lanes, the one whose head waits longest first, and workers that serve."""

    lanes: Sequence[LaneView]
    workers: Sequence[WorkerView]


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send up to `count` waiting requests of a lane to this worker; None: of the lane that is first."""

    worker_id: int
    count: int
    lane: Lane = None


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """A request was taken."""

    lane: Lane


class Left(msgspec.Struct, frozen=True, gc=False):
    """A request will not be sent: its client has left, or it waited too long."""

    lane: Lane


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A batch went to a worker."""

    worker_id: int
    lane: Lane
    count: int


class Done(msgspec.Struct, frozen=True, gc=False):
    """A batch came back: its size, the worker's own seconds for it, and its lane."""

    worker_id: int
    count: int
    seconds: float
    lane: Lane


class Lost(msgspec.Struct, frozen=True, gc=False):
    """A worker is gone, and batches of so many requests with it; they may arrive in their lanes again."""

    worker_id: int
    count: int


Event = Arrived | Left | Sent | Done | Lost


class Policy(Protocol):
    """The questions of the dispatcher."""

    def lane(self, request: Input) -> Lane:
        """What the request has in common with those that may be in one batch with it."""

    def observe(self, event: Event, now: float) -> None:
        """Something happened just now that later decisions may use."""

    def learned(self) -> Mapping[str, float]:
        """What it has learned, and does; empty: nothing, or it does not learn.

        `fixed`, `each`: seconds of any batch, and of each request in it. Moving averages of about 16 batches:
        `concurrency`, requests that were here at once, waiting or in hand; `wait`, seconds that a worker was
        kept waiting; `fill`, requests of a batch over batchSize.
        """

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        """Why one more request may not wait behind `waiting` others; None: the policy does not mind.

        A batch takes `most` requests of those who wait, as far as workers, costs and shapes let it lately.
        """

    def decide(self, view: View, now: float) -> Send | float | None:
        """The next batch to send, the time to ask again, or None: only an event can change the answer."""


def objection(decision: Send | float | None, view: View, now: float) -> str | None:
    """Why a decision cannot be obeyed; None where it can."""
    if decision is None:
        return None
    if not isinstance(decision, Send):
        ahead = math.isfinite(decision) and decision > now
        return None if ahead else f"to ask again at {decision!r}, which is not after {now!r}"
    if decision.count < 1:
        return f"to send {decision.count} requests"
    for worker in view.workers:
        if worker.worker_id == decision.worker_id:
            break
    else:
        return f"to send to worker {decision.worker_id}, which is not there"
    if worker.batches >= MOST_IN_HAND:
        return f"to send to worker {decision.worker_id}, whose hands are full"
    if decision.lane is None:
        return None if view.lanes else "to send although nothing waits"
    if all(lane.lane != decision.lane for lane in view.lanes):
        return f"to send of lane {decision.lane!r}, in which nothing waits"
    return None


def first_come(view: View) -> Send | None:
    """What is done in place of a decision that cannot be obeyed: one request to an idle worker."""
    idle = next((worker for worker in view.workers if not worker.batches), None)
    return Send(idle.worker_id, 1) if idle is not None and view.lanes else None
