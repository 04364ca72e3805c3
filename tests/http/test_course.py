"""The course of a connection as a table: every legal step, every illegal one, and when patience ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from torchkeeper.http.course import TRANSITIONS, Course, IllegalStep, Phase, Step
from torchkeeper.http.limits import EdgeLimits

LIMITS = EdgeLimits(
    max_body=1,
    header_timeout=3.0,
    body_timeout=6.0,
    idle_timeout=7.0,
    write_timeout=5.0,
    min_rate=100,
    rate_grace=4.0,
    first_timeout=8.0,
    drain_seconds=0.5,
    last_call=0.1,
)
#: The shortest way to each phase.
WAYS: dict[Phase, tuple[Step, ...]] = {
    Phase.NEW: (),
    Phase.IDLE: (Step.BEGIN, Step.HEAD, Step.WHOLE, Step.ANSWERED),
    Phase.LAST_CALL: (Step.STOP,),
    Phase.HEAD: (Step.BEGIN,),
    Phase.LAST_HEAD: (Step.STOP, Step.BEGIN),
    Phase.BODY: (Step.BEGIN, Step.HEAD),
    Phase.WAITING: (Step.BEGIN, Step.HEAD, Step.WHOLE),
    Phase.REFUSED: (Step.REFUSE,),
    Phase.LINGERING: (Step.REFUSE, Step.LAST),
    Phase.CLOSING: (Step.EXPIRED,),
    Phase.CLOSED: (Step.LOST,),
}
PATIENCE = {
    Phase.NEW: 8.0,
    Phase.IDLE: 7.0,
    Phase.LAST_CALL: 0.1,
    Phase.HEAD: 3.0,
    Phase.LAST_HEAD: 0.1,
    Phase.BODY: 6.0,
    Phase.WAITING: None,
    Phase.REFUSED: None,
    Phase.LINGERING: 0.5,
    Phase.CLOSING: 5.0,
    Phase.CLOSED: None,
}
#: Phases in which the server owes the client nothing but time, so that the client alone could hold them.
OURS = {Phase.WAITING, Phase.REFUSED, Phase.CLOSED}


def course_in(phase: Phase, now: float = 0.0) -> Course:
    course = Course(LIMITS, now)
    for step in WAYS[phase]:
        course.on(step, now)
    assert course.phase is phase
    return course


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)))
def test_the_table_is_the_only_truth(phase: Phase, step: Step) -> None:
    course = course_in(phase)
    if (phase, step) in TRANSITIONS:
        assert course.on(step, 1.0) is course.phase is TRANSITIONS[phase, step]
    else:
        with pytest.raises(IllegalStep, match=f"{step.name} cannot happen in {phase.name}"):
            course.on(step, 1.0)
        assert course.phase is phase


def test_every_phase_can_be_lost_and_nothing_comes_after_the_end() -> None:
    assert {phase for phase, step in TRANSITIONS if step is Step.LOST} == set(Phase)
    assert {after for (phase, _), after in TRANSITIONS.items() if phase is Phase.CLOSED} == {Phase.CLOSED}


def test_no_way_leads_back_from_where_nothing_is_parsed_any_more() -> None:
    for (phase, _), after in TRANSITIONS.items():
        if phase > Phase.WAITING:
            assert after >= phase


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_has_its_patience(phase: Phase) -> None:
    patience = PATIENCE[phase]
    assert course_in(phase, 10.0).deadline == (None if patience is None else 10.0 + patience)


@pytest.mark.parametrize("phase", set(Phase) - OURS)
def test_the_client_alone_cannot_hold_a_phase(phase: Phase) -> None:
    course = course_in(phase)
    assert course.deadline is not None
    assert course.expire(course.deadline) > phase


@pytest.mark.parametrize("phase", Phase)
def test_a_client_that_takes_nothing_has_another_patience_until_its_last_answer_is_sent(phase: Phase) -> None:
    course = course_in(phase)
    course.block(10.0, True)
    assert not course.reads or phase is Phase.LINGERING
    if phase >= Phase.LINGERING:
        assert course.deadline == PATIENCE[phase]
        return
    assert course.deadline == 15.0
    course.fill(12.0, True)
    assert course.deadline == 15.0, "who may send nothing must take what was sent all the same"
    assert course.expire(15.0) is Phase.CLOSED


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase < Phase.LINGERING])
def test_a_client_that_takes_something_is_slow_but_not_stuck(phase: Phase) -> None:
    course = course_in(phase)
    course.block(10.0, True)
    course.took(14.0)
    assert course.deadline == 19.0
    course.on(Step.LOST, 14.0)
    assert course.deadline is None


def test_a_client_that_takes_the_rest_of_its_last_answer_slowly_has_it_whole() -> None:
    course = course_in(Phase.CLOSING, 1.0)
    course.took(5.0)
    assert course.deadline == 10.0
    assert course.expire(10.0) is Phase.CLOSED


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase < Phase.LINGERING])
def test_a_client_that_is_not_read_cannot_be_late_and_has_its_whole_patience_afterwards(phase: Phase) -> None:
    course = course_in(phase)
    course.fill(1.0, True)
    assert (course.held, course.reads, course.deadline) == (True, False, None)
    course.fill(100.0, False)
    patience = PATIENCE[phase]
    assert (course.held, course.reads) == (False, True)
    assert course.deadline == (None if patience is None else 100.0 + patience)


def test_a_client_that_reads_again_but_has_sent_too_much_is_still_held() -> None:
    course = course_in(Phase.BODY)
    course.block(1.0, True)
    course.fill(1.0, True)
    course.block(2.0, False)
    assert (course.held, course.deadline) == (True, None)
    course.fill(3.0, False)
    assert (course.held, course.deadline) == (False, 9.0)


def test_a_glance_at_the_clock_misses_no_deadline_of_requests_that_come_and_go() -> None:
    usual = (Phase.NEW, Phase.IDLE, Phase.HEAD, Phase.BODY)
    assert course_in(Phase.NEW).glance == min(
        *(PATIENCE[phase] for phase in usual), LIMITS.write_timeout, LIMITS.rate_grace
    )


class Connections(RuleBasedStateMachine):
    """A connection that does whatever a client, an application and a server may do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.course = Course(LIMITS, self.now)
        #: Answers that are owed, and whether a refusal is the last of them.
        self.owed = 0

    @property
    def phase(self) -> Phase:
        return self.course.phase

    def step(self, step: Step) -> None:
        self.course.on(step, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        while (deadline := self.course.deadline) is not None and deadline <= self.now:
            if self.course.expire(self.now) is Phase.REFUSED:
                self.owed = max(self.owed, 1)

    @precondition(lambda self: self.phase <= Phase.WAITING and not self.course.held)
    @rule(more=st.booleans())
    def bytes_come(self, more: bool) -> None:
        if self.phase in (Phase.HEAD, Phase.LAST_HEAD):
            self.step(Step.HEAD)
            self.owed += 1
        elif self.phase is Phase.BODY:
            self.step(Step.PIECE if more else Step.WHOLE)
        else:
            self.step(Step.BEGIN)

    @precondition(lambda self: self.phase <= Phase.WAITING)
    @rule()
    def nonsense_comes(self) -> None:
        self.owed += self.phase is not Phase.BODY
        self.step(Step.REFUSE)

    @precondition(lambda self: self.phase in (Phase.REFUSED, Phase.LINGERING))
    @rule()
    def a_flood_comes(self) -> None:
        self.step(Step.FLOODED)

    @precondition(lambda self: self.owed and self.phase < Phase.LINGERING)
    @rule(last=st.booleans())
    def an_answer_is_sent(self, last: bool) -> None:
        receiving = self.phase is Phase.BODY and self.owed == 1
        self.owed -= 1
        if last or receiving or (self.phase is Phase.REFUSED and not self.owed):
            self.step(Step.LAST)
        elif not self.owed and self.phase is Phase.WAITING:
            self.step(Step.ANSWERED)

    @rule(blocked=st.booleans())
    def the_client_reads_or_not(self, blocked: bool) -> None:
        self.course.block(self.now, blocked)

    @rule()
    def the_client_takes_something(self) -> None:
        self.course.took(self.now)

    @rule(full=st.booleans())
    def much_piles_up_or_not(self, full: bool) -> None:
        self.course.fill(self.now, full)

    @precondition(lambda self: not self.owed)
    @rule()
    def the_server_stops(self) -> None:
        self.step(Step.STOP)

    @rule()
    def the_client_leaves(self) -> None:
        self.step(Step.LOST)

    @invariant()
    def an_answer_is_owed_in_just_those_phases_that_wait_for_one(self) -> None:
        if self.phase in (Phase.NEW, Phase.IDLE, Phase.LAST_CALL, Phase.LAST_HEAD):
            assert not self.owed
        if self.phase in (Phase.BODY, Phase.WAITING, Phase.REFUSED):
            assert self.owed

    @invariant()
    def somebody_always_ends_it(self) -> None:
        if self.phase not in OURS and not self.course.held:
            assert self.course.deadline is not None
        if self.course.reads:
            assert self.phase <= Phase.LINGERING


Connections.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestConnections = Connections.TestCase


def test_a_body_has_a_least_pace_besides_its_patience() -> None:
    course = course_in(Phase.BODY, 10.0)
    assert course.due(10.0, 0) == 14.0  # the grace
    assert course.due(10.0, 150) == 15.5
    assert course.due(10.0, 10**6) == 16.0  # the patience with a pause
    course.on(Step.PIECE, 15.0)
    assert course.due(10.0, 150) == 15.5


def test_time_in_which_the_client_is_not_read_is_not_its_own() -> None:
    course = course_in(Phase.BODY, 10.0)
    course.fill(11.0, True)
    assert course.due(10.0, 0) is None
    course.fill(20.0, False)
    assert course.due(10.0, 0) == 24.0
    course.block(21.0, True)
    assert course.due(10.0, 0) == 21.0 + LIMITS.write_timeout


def test_where_no_pace_is_asked_for_patience_is_all() -> None:
    course = Course(EdgeLimits(max_body=1, min_rate=0), 0.0)
    for step in WAYS[Phase.BODY]:
        course.on(step, 0.0)
    assert course.due(0.0, 0) == 60.0
