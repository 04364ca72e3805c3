"""The course of a connection, as a pure state machine: steps and the clock in, phase and deadline out.

One table holds every legal step. The connection obeys it with a real parser, socket and timer, and brings the
answers. Source: RFC 9112, sections 9.3 (persistence) and 9.6 (tear-down).
"""

from __future__ import annotations

import enum

from torchkeeper.http.limits import EdgeLimits


class Phase(enum.IntEnum):
    """Where a connection is. Up to WAITING its bytes are parsed, up to LINGERING they are read."""

    #: Nothing has come yet.
    NEW = 0
    #: All requests are answered.
    IDLE = 1
    #: The server stops: one more request may come, because it may be on its way.
    LAST_CALL = 2
    #: A head is on its way.
    HEAD = 3
    #: The server stops: the same head is the last one.
    LAST_HEAD = 4
    #: A body is on its way.
    BODY = 5
    #: All requests that are known are whole, and not all are answered.
    WAITING = 6
    #: What comes is thrown away; answers are still owed, the last of which is a refusal.
    REFUSED = 7
    #: The last answer is sent; what comes is thrown away, so that the client can read that answer.
    LINGERING = 8
    #: Nothing is read any more; what is left of the last answer goes out.
    CLOSING = 9
    CLOSED = 10


class Step(enum.IntEnum):
    """What may happen to a connection."""

    #: The first byte of a head has come.
    BEGIN = 0
    #: A head is whole.
    HEAD = 1
    #: A piece of a body has come.
    PIECE = 2
    #: A request is whole.
    WHOLE = 3
    #: The last request that is known has its answer.
    ANSWERED = 4
    #: An answer is sent behind which the connection closes.
    LAST = 5
    #: What came cannot be taken.
    REFUSE = 6
    #: More came than is thrown away.
    FLOODED = 7
    #: The server stops, and owes no answer.
    STOP = 8
    #: The phase's patience has ended.
    EXPIRED = 9
    #: The client took nothing of its answers for too long.
    STUCK = 10
    #: The connection is gone.
    LOST = 11
    #: A whole request has come at once.
    ASKED = 12


_P, _S = Phase, Step

#: (phase, step) to the next phase. BEGIN and HEAD in BODY: a parser that goes on where another one stopped is
#: told once more how the body is framed.
TRANSITIONS: dict[tuple[Phase, Step], Phase] = {
    (_P.NEW, _S.BEGIN): _P.HEAD,
    (_P.NEW, _S.REFUSE): _P.REFUSED,
    (_P.NEW, _S.STOP): _P.LAST_CALL,
    (_P.NEW, _S.EXPIRED): _P.CLOSING,
    (_P.IDLE, _S.BEGIN): _P.HEAD,
    (_P.IDLE, _S.ASKED): _P.WAITING,
    (_P.IDLE, _S.REFUSE): _P.REFUSED,
    (_P.IDLE, _S.STOP): _P.LAST_CALL,
    (_P.IDLE, _S.EXPIRED): _P.CLOSING,
    (_P.LAST_CALL, _S.BEGIN): _P.LAST_HEAD,
    (_P.LAST_CALL, _S.REFUSE): _P.REFUSED,
    (_P.LAST_CALL, _S.STOP): _P.LAST_CALL,
    (_P.LAST_CALL, _S.EXPIRED): _P.CLOSING,
    (_P.HEAD, _S.BEGIN): _P.HEAD,
    (_P.HEAD, _S.HEAD): _P.BODY,
    (_P.HEAD, _S.LAST): _P.CLOSING,
    (_P.HEAD, _S.REFUSE): _P.REFUSED,
    (_P.HEAD, _S.STOP): _P.LAST_HEAD,
    (_P.HEAD, _S.EXPIRED): _P.REFUSED,
    (_P.LAST_HEAD, _S.HEAD): _P.BODY,
    (_P.LAST_HEAD, _S.REFUSE): _P.REFUSED,
    (_P.LAST_HEAD, _S.STOP): _P.LAST_HEAD,
    (_P.LAST_HEAD, _S.EXPIRED): _P.REFUSED,
    (_P.BODY, _S.BEGIN): _P.BODY,
    (_P.BODY, _S.HEAD): _P.BODY,
    (_P.BODY, _S.PIECE): _P.BODY,
    (_P.BODY, _S.WHOLE): _P.WAITING,
    (_P.BODY, _S.LAST): _P.LINGERING,
    (_P.BODY, _S.REFUSE): _P.REFUSED,
    (_P.BODY, _S.EXPIRED): _P.REFUSED,
    (_P.WAITING, _S.BEGIN): _P.HEAD,
    (_P.WAITING, _S.ANSWERED): _P.IDLE,
    (_P.WAITING, _S.LAST): _P.CLOSING,
    (_P.WAITING, _S.REFUSE): _P.REFUSED,
    (_P.REFUSED, _S.LAST): _P.LINGERING,
    (_P.REFUSED, _S.FLOODED): _P.CLOSING,
    (_P.LINGERING, _S.FLOODED): _P.CLOSING,
    (_P.LINGERING, _S.STOP): _P.LINGERING,
    (_P.LINGERING, _S.EXPIRED): _P.CLOSING,
    (_P.CLOSING, _S.LAST): _P.CLOSING,
    (_P.CLOSING, _S.STOP): _P.CLOSING,
    (_P.CLOSING, _S.EXPIRED): _P.CLOSED,
    (_P.CLOSED, _S.STOP): _P.CLOSED,
    **{(phase, _S.STUCK): _P.CLOSED for phase in Phase if phase <= _P.REFUSED},
    **{(phase, _S.LOST): _P.CLOSED for phase in Phase},
}
#: The same for the hot path: rows by phase, columns by step.
_NEXT = tuple(tuple(TRANSITIONS.get((phase, step)) for step in Step) for phase in Phase)


class IllegalStep(Exception):
    """A step that cannot happen in that phase: a bug in the caller."""


class Course:
    """One connection's phase, what holds its client back, and when its patience ends.

    Each phase has its own patience with the client. Before the last answer is sent, one that does not take
    its answers has another, and one that is not read cannot be late. Times are seconds of a monotonic clock.
    """

    __slots__ = (
        *("_blocked", "_full", "_grace", "_patience", "_rate", "_released", "_since", "_write_timeout"),
        *("glance", "held", "phase"),
    )

    def __init__(self, limits: EdgeLimits, now: float) -> None:
        self.phase = Phase.NEW
        #: Whether something holds the client back: it is not read.
        self.held = False
        self._since = now
        #: Since when the client does not take what it is sent.
        self._blocked: float | None = None
        #: Whether as much as may pile up has come.
        self._full = False
        self._write_timeout = limits.write_timeout
        self._rate, self._grace = limits.min_rate, limits.rate_grace
        #: When the client was read again.
        self._released = now
        #: Seconds by phase; None: as long as it takes.
        self._patience = {
            Phase.NEW: limits.first_timeout,
            Phase.IDLE: limits.idle_timeout,
            Phase.LAST_CALL: limits.last_call,
            Phase.HEAD: limits.header_timeout,
            Phase.LAST_HEAD: limits.last_call,
            Phase.BODY: limits.body_timeout,
            Phase.LINGERING: limits.drain_seconds,
            Phase.CLOSING: limits.write_timeout,
        }
        #: Seconds in which no deadline passes that a step sets while requests come and go as they should.
        self.glance = min(
            *(limits.first_timeout, limits.header_timeout, limits.idle_timeout, limits.body_timeout),
            *(limits.write_timeout, limits.rate_grace),
        )

    def on(self, step: Step, now: float) -> Phase:
        """Takes one step; returns the phase that follows.

        Raises:
            IllegalStep: it cannot happen in this phase.
        """
        phase = _NEXT[self.phase][step]
        if phase is None:
            raise IllegalStep(f"{step.name} cannot happen in {self.phase.name}")
        self.phase = phase
        self._since = now
        return phase

    def expire(self, now: float) -> Phase:
        """Takes in that the deadline has passed; returns the phase that follows."""
        stuck = self._blocked is not None and self.phase < Phase.LINGERING
        return self.on(Step.STUCK if stuck else Step.EXPIRED, now)

    @property
    def deadline(self) -> float | None:
        """When the patience ends; None: not in this phase, or not as long as the client is not read."""
        if self.phase < Phase.LINGERING:
            if self._blocked is not None:
                return self._blocked + self._write_timeout
            if self._full:
                return None
        patience = self._patience.get(self.phase)
        return None if patience is None else self._since + patience

    def due(self, begin: float, received: int) -> float | None:
        """When the patience with a body ends, of which so many bytes came since then: it has a least pace.

        Time in which the client is not read is not its own: after that its pace begins anew.
        """
        deadline = self.deadline
        if deadline is None or self._blocked is not None or not self._rate:
            return deadline
        return min(deadline, max(begin, self._released) + self._grace + received / self._rate)

    @property
    def reads(self) -> bool:
        """Whether the client's bytes are wanted now."""
        return self.phase is Phase.LINGERING or (self.phase < Phase.LINGERING and not self.held)

    def block(self, now: float, blocked: bool) -> None:
        """The client does not take what it is sent, or takes it again."""
        self._blocked = now if blocked else None
        self._hold(now)

    def took(self, now: float) -> None:
        """The client took some of what it is sent: slow, but not stuck."""
        if self._blocked is not None:
            self._blocked = now
        if self.phase is Phase.CLOSING:
            self._since = now

    def fill(self, now: float, full: bool) -> None:
        """As much as may pile up has come and waits, or no longer."""
        self._full = full
        self._hold(now)

    def _hold(self, now: float) -> None:
        held = self._full or self._blocked is not None
        if self.held and not held and self.phase < Phase.LINGERING:  # patience begins anew
            self._since = self._released = now
        self.held = held
