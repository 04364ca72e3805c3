"""The life of a worker as a table: every legal step, every illegal one, and the delays between tries."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from torchkeeper.pool.life import (
    PROBE,
    TRANSITIONS,
    Event,
    IllegalTransition,
    Life,
    State,
    next_state,
)

#: The delays between its attempts, in seconds.
TORCHSERVE = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_the_table_is_the_only_truth(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        said = f"^a {state.value} worker cannot take '{event.value}'$"
        with pytest.raises(IllegalTransition, match=said):
            next_state(state, event)


def test_every_state_but_the_last_can_be_stopped() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.STOP} == set(State) - {State.STOPPED}


def fail_to_load(life: Life, now: float) -> State:
    life.on(Event.SPAWNED, now)
    return life.on(Event.EXITED, now, "ImportError: no such thing")


def test_failed_loads_wait_as_torchserve_does() -> None:
    life = Life(give_up_after=10_000)
    now = 0.0
    for delay in (*TORCHSERVE, TORCHSERVE[-1]):
        assert fail_to_load(life, now) is State.BACKING_OFF
        assert life.due == now + delay
        now += delay
        life.on(Event.DUE, now)


def test_the_first_failure_leaves_hope_and_the_second_does_not() -> None:
    life = Life(give_up_after=300)
    fail_to_load(life, 0)
    assert life.hopeful
    life.on(Event.DUE, 1)
    assert life.hopeful, "a worker that starts again may still come up"
    fail_to_load(life, 1)
    assert not life.hopeful
    assert life.last_cause == "ImportError: no such thing"


def test_a_worker_is_given_up_when_its_time_is_over_and_probed_ever_after() -> None:
    life = Life(give_up_after=5)
    fail_to_load(life, 0)
    life.on(Event.DUE, 1)
    assert fail_to_load(life, 6) is State.GIVEN_UP
    assert life.due == 6 + PROBE
    assert not life.hopeful
    assert life.on(Event.DUE, 66) is State.STARTING


@pytest.mark.parametrize(("moment", "state"), [(4.9, State.BACKING_OFF), (5, State.GIVEN_UP)])
def test_the_time_is_over_when_it_has_passed(moment: float, state: State) -> None:
    life = Life(give_up_after=5)
    fail_to_load(life, 0)
    life.on(Event.DUE, 1)
    assert fail_to_load(life, moment) is state


def test_a_worker_that_had_loaded_is_replaced_at_once() -> None:
    life = Life(give_up_after=300)
    for event in (Event.SPAWNED, Event.LOADED, Event.BATCH):
        life.on(event, 1)
    assert life.on(Event.EXITED, 2, "killed") is State.BACKING_OFF
    assert life.due == 2
    assert life.hopeful


def test_a_successful_load_forgets_the_failures() -> None:
    life = Life(give_up_after=300)
    fail_to_load(life, 0)
    life.on(Event.DUE, 1)
    life.on(Event.SPAWNED, 1)
    life.on(Event.LOADED, 2)
    assert life.failures == 0
    assert life.failing_since is None


def test_a_stopped_worker_drains_and_stays_stopped() -> None:
    life = Life(give_up_after=300)
    for event in (Event.SPAWNED, Event.LOADED, Event.BATCH, Event.STOP):
        life.on(event, 1)
    assert life.state is State.DRAINING, "it answers what it holds"
    assert life.on(Event.IDLE, 1) is State.LEAVING
    assert life.on(Event.EXITED, 2) is State.STOPPED
    assert life.due is None


@pytest.mark.parametrize("events", [(), (Event.EXITED,)])
def test_a_worker_without_a_process_is_stopped_at_once(events: tuple[Event, ...]) -> None:
    life = Life(give_up_after=300)
    for event in events:
        life.on(event, 1)
    assert life.on(Event.STOP, 2) is State.STOPPED


@pytest.mark.parametrize("events", [(Event.SPAWNED,), (Event.SPAWNED, Event.LOADED)])
def test_a_worker_with_nothing_in_hand_leaves_at_once(events: tuple[Event, ...]) -> None:
    life = Life(give_up_after=300)
    for event in events:
        life.on(event, 1)
    assert life.on(Event.STOP, 2) is State.LEAVING


#: States in which a worker has a process, or gets one.
WITH_PROCESS = {
    State.STARTING,
    State.LOADING,
    State.READY,
    State.BUSY,
    State.DRAINING,
    State.LEAVING,
}


class LifeMachine(RuleBasedStateMachine):
    """Whatever happens to a worker, in any order that the table allows and however long it takes."""

    @initialize(give_up_after=st.sampled_from([0, 5, 300, 100_000]))
    def begin(self, give_up_after: float) -> None:
        self.patience = give_up_after
        self.life = Life(give_up_after)
        self.now = 1000.0
        #: Deaths in a row before the model was loaded, and when the first of them was.
        self.failed = 0
        self.since = 0.0
        self.was_stopped = False

    @rule(seconds=st.sampled_from([1, 5, 300]) | st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.life.state is not State.STOPPED)
    @rule(number=st.integers(0, 5))
    def any_event(self, number: int) -> None:
        events = [event for state, event in TRANSITIONS if state is self.life.state]
        events = [event for event in events if event is not Event.EXPIRED]  # it decides that by itself
        self.take(events[number % len(events)])

    def take(self, event: Event) -> None:
        before = self.life.state
        if event is Event.DUE:
            assert self.life.due is not None
            self.now = max(self.now, self.life.due)
        after = self.life.on(event, self.now, f"cause at {self.now}")
        self.was_stopped |= event is Event.STOP
        if event is Event.LOADED:
            self.failed = 0
        elif event is Event.EXITED and after is not State.STOPPED:
            assert self.life.last_cause == f"cause at {self.now}"
            self.died(before)
        else:
            assert after is TRANSITIONS[before, event]

    def died(self, before: State) -> None:
        """When it is tried again."""
        if before in (State.READY, State.BUSY):
            assert self.life.due == self.now, "a worker that has served is replaced at once"
            return
        self.since = self.since if self.failed else self.now
        self.failed += 1
        if self.now - self.since >= self.patience:
            assert self.life.state is State.GIVEN_UP
            assert self.life.due == self.now + PROBE
        else:
            assert self.life.state is State.BACKING_OFF
            assert self.life.due == self.now + TORCHSERVE[min(self.failed, 17) - 1]

    @precondition(lambda self: self.life.state in (State.BACKING_OFF, State.GIVEN_UP))
    @rule(times=st.sampled_from([1, 2, 18]))
    def it_fails_again(self, times: int) -> None:
        """The usual course of a model that cannot be loaded, which chance alone would seldom find."""
        for event in (Event.DUE, Event.SPAWNED, Event.EXITED) * times:
            self.take(event)

    @precondition(lambda self: self.life.state in (State.BACKING_OFF, State.GIVEN_UP))
    @rule()
    def it_loads_at_last(self) -> None:
        for event in (Event.DUE, Event.SPAWNED, Event.LOADED):
            self.take(event)

    @invariant()
    def it_is_alive_or_has_a_due_time_or_was_stopped(self) -> None:
        tried_again = self.life.state in (State.BACKING_OFF, State.GIVEN_UP)
        assert (self.life.due is not None) == tried_again
        assert tried_again or self.life.state in WITH_PROCESS or self.was_stopped
        assert (self.life.state is State.STOPPED) <= self.was_stopped

    @invariant()
    def who_was_stopped_never_comes_back(self) -> None:
        leaves = self.life.state in (State.DRAINING, State.LEAVING, State.STOPPED)
        assert leaves == self.was_stopped

    @invariant()
    def a_due_time_is_never_further_away_than_the_longest_delay(self) -> None:
        assert self.life.due is None or self.life.due <= self.now + TORCHSERVE[-1]

    @invariant()
    def requests_wait_for_a_worker_that_serves_or_starts_or_failed_but_once(self) -> None:
        state = self.life.state
        serves_or_starts = state in (State.STARTING, State.LOADING, State.READY, State.BUSY)
        failed_once = state is State.BACKING_OFF and self.failed < 2
        assert self.life.hopeful == (serves_or_starts or failed_once)
        assert not (self.was_stopped and self.life.hopeful)


TestLife = LifeMachine.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
