"""The supervisor of one model version's workers, as a pure state machine.

Events and the clock come in, actions go out; the pool obeys them with real processes. One table holds every
legal transition of a worker. Source of the delays: TorchServe's restart back-off (Fibonacci, in seconds).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class State(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    #: Answers what it holds, then leaves.
    DRAINING = "draining"
    #: Holds nothing; it has been told to leave.
    LEAVING = "leaving"
    STOPPED = "stopped"
    BACKING_OFF = "backing off"
    GIVEN_UP = "given up"

    __hash__ = object.__hash__  # the table is asked for every batch, and an enum has a function in Python


class Event(enum.Enum):
    """What may happen to a worker."""

    SPAWNED = "spawned"
    LOADED = "loaded"
    BATCH = "batch"
    IDLE = "idle"
    EXITED = "exited"
    DUE = "due"
    EXPIRED = "expired"
    STOP = "stop"

    __hash__ = object.__hash__


_S, _E = State, Event
# Looked up for every batch, and members of an enum are slow to find.
_BATCH, _IDLE = Event.BATCH, Event.IDLE

#: (state, event) to the next state. EXITED of a living worker is decided by the restart history: the
#: machine picks among STARTING (at once), BACKING_OFF and GIVEN_UP; the table holds what is always so.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (_S.STARTING, _E.SPAWNED): _S.LOADING,
    (_S.STARTING, _E.EXITED): _S.BACKING_OFF,
    (_S.STARTING, _E.STOP): _S.STOPPED,
    (_S.LOADING, _E.LOADED): _S.READY,
    (_S.LOADING, _E.EXITED): _S.BACKING_OFF,
    (_S.LOADING, _E.STOP): _S.LEAVING,
    (_S.READY, _E.BATCH): _S.BUSY,
    (_S.READY, _E.EXITED): _S.BACKING_OFF,
    (_S.READY, _E.STOP): _S.LEAVING,
    (_S.BUSY, _E.IDLE): _S.READY,
    (_S.BUSY, _E.EXITED): _S.BACKING_OFF,
    (_S.BUSY, _E.STOP): _S.DRAINING,
    (_S.DRAINING, _E.IDLE): _S.LEAVING,
    (_S.DRAINING, _E.EXITED): _S.STOPPED,
    (_S.DRAINING, _E.STOP): _S.DRAINING,
    (_S.LEAVING, _E.LOADED): _S.LEAVING,
    (_S.LEAVING, _E.EXITED): _S.STOPPED,
    (_S.LEAVING, _E.STOP): _S.LEAVING,
    (_S.BACKING_OFF, _E.DUE): _S.STARTING,
    (_S.BACKING_OFF, _E.EXPIRED): _S.GIVEN_UP,
    (_S.BACKING_OFF, _E.STOP): _S.STOPPED,
    (_S.GIVEN_UP, _E.DUE): _S.STARTING,
    (_S.GIVEN_UP, _E.STOP): _S.STOPPED,
}

#: TorchServe's delays before restart attempts 1, 2, 3 ..., in seconds.
BACKOFF = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)
#: A worker that was given up is probed again this often, in seconds: never silence, never a busy loop.
PROBE = 60.0


class IllegalTransition(Exception):
    """An event that cannot happen in that state: a bug in the caller."""


def next_state(state: State, event: Event) -> State:
    """The table's answer.

    Raises:
        IllegalTransition: the table has none.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a {state.value} worker cannot take {event.value!r}") from None


@dataclass
class Life:
    """One worker's place: its state and the history that decides when it starts again.

    A death after a successful load is replaced at once (the first failure costs no delay); failures in a
    row wait as TorchServe does. Times are seconds of a monotonic clock.
    """

    give_up_after: float
    state: State = State.STARTING
    failures: int = 0
    failing_since: float | None = None
    due: float | None = None
    last_cause: str | None = field(default=None)

    def on(self, event: Event, now: float, cause: str | None = None) -> State:
        """Takes one event; returns the state that follows.

        Raises:
            IllegalTransition: the event cannot happen in this state.
        """
        before = self.state
        self.state = next_state(before, event)
        if event is _BATCH or event is _IDLE:
            return self.state
        if event is Event.LOADED:
            self.failures, self.failing_since = 0, None
        elif event in (Event.DUE, Event.STOP):
            self.due = None
        elif event is Event.EXITED and self.state is State.BACKING_OFF:
            self.last_cause = cause
            self._fail(now, lived=before in (State.READY, State.BUSY))
        return self.state

    def _fail(self, now: float, *, lived: bool) -> None:
        if lived:
            # Only a loaded worker that died: its place is refilled at once.
            self.due = now
            return
        self.failures += 1
        if self.failing_since is None:
            self.failing_since = now
        if now - self.failing_since >= self.give_up_after:
            self.state = next_state(self.state, Event.EXPIRED)
            self.due = now + PROBE
        else:
            self.due = now + BACKOFF[min(self.failures, len(BACKOFF)) - 1]

    @property
    def hopeful(self) -> bool:
        """Whether requests may wait for this worker: it serves, starts, or failed for the first time."""
        if self.state is State.BACKING_OFF:
            return self.failures < 2
        return self.state in (State.STARTING, State.LOADING, State.READY, State.BUSY)
