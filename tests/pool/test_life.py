"""The life of a worker as a table: every legal step, every illegal one, and the delays between tries."""

import itertools

import pytest

from torchkeeper.pool.life import (
    BACKOFF,
    PROBE,
    TRANSITIONS,
    Event,
    IllegalTransition,
    Life,
    State,
    next_state,
)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_the_table_is_the_only_truth(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition):
            next_state(state, event)


def test_every_state_but_the_last_can_be_stopped() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.STOP} == set(State) - {State.STOPPED}


def fail_to_load(life: Life, now: float) -> State:
    life.on(Event.SPAWNED, now)
    return life.on(Event.EXITED, now, "ImportError: no such thing")


def test_failed_loads_wait_as_torchserve_does() -> None:
    life = Life(give_up_after=10_000)
    now = 0.0
    for delay in BACKOFF[:8]:
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
