"""The autoscaling policy by tables: up while requests wait, down while workers idle, within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.models.autoscale import DOWN_AFTER, UP_AFTER, UP_PAUSE, Autoscale, Demand


def waiting(seconds: float, workers: int, starting: int = 0) -> Demand:
    return Demand(oldest_wait=seconds, idle=0, workers=workers, starting=starting)


def resting(workers: int) -> Demand:
    return Demand(oldest_wait=0.0, idle=workers, workers=workers, starting=0)


def test_a_long_wait_brings_one_worker_more_up_to_the_bound() -> None:
    policy = Autoscale(1, 3)
    assert policy.decide(waiting(UP_AFTER / 2, 1), 0.0) == 1
    assert policy.decide(waiting(UP_AFTER * 2, 1), 1.0) == 2
    assert policy.decide(waiting(UP_AFTER * 2, 2), 1.0 + UP_PAUSE) == 3
    assert policy.decide(waiting(UP_AFTER * 2, 3), 1.0 + 2 * UP_PAUSE) == 3


def test_a_worker_that_still_loads_is_waited_for() -> None:
    policy = Autoscale(1, 3)
    assert policy.decide(waiting(5.0, 2, starting=1), 100.0) == 2


def test_two_steps_up_have_a_pause_between_them() -> None:
    policy = Autoscale(1, 3)
    assert policy.decide(waiting(5.0, 1), 0.0) == 2
    assert policy.decide(waiting(5.0, 2), UP_PAUSE / 2) == 2


def test_idle_workers_leave_one_by_one_down_to_the_bound() -> None:
    policy = Autoscale(1, 3)
    assert policy.decide(resting(3), 0.0) == 3
    assert policy.decide(resting(3), DOWN_AFTER) == 2
    assert policy.decide(resting(2), DOWN_AFTER + 1) == 2
    assert policy.decide(resting(2), 2 * DOWN_AFTER) == 1
    assert policy.decide(resting(1), 4 * DOWN_AFTER) == 1


def test_one_request_that_waits_starts_the_rest_anew() -> None:
    policy = Autoscale(1, 3)
    policy.decide(resting(2), 0.0)
    policy.decide(waiting(0.1, 2), DOWN_AFTER - 1)
    assert policy.decide(resting(2), DOWN_AFTER) == 2


@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 5), st.integers(0, 5), st.floats(0, 40)), max_size=30)
)
def test_the_bounds_hold_whatever_happens(story: list[tuple[float, int, int, float]]) -> None:
    policy, now, workers = Autoscale(1, 5), 0.0, 1
    for wait, idle, starting, step in story:
        now += step
        target = policy.decide(Demand(wait, min(idle, workers), workers, min(starting, workers)), now)
        assert 1 <= target <= 5
        assert abs(target - workers) <= 1
        workers = target
