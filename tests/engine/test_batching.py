"""Policies by table: what waits, what the workers hold, what goes."""

import pytest

from torchkeeper.engine.batching import (
    PREPARE_BELOW,
    Delay,
    Done,
    Greedy,
    Send,
    View,
    WorkerView,
    make_policy,
)


def view(waiting: int, *batches: int, oldest: float = 0.0) -> View:
    return View(waiting, oldest, [WorkerView(number, held) for number, held in enumerate(batches)])


@pytest.mark.parametrize(
    ("waiting", "batches", "decision"),
    [
        (0, (0,), None),
        (1, (), None),
        (1, (0,), Send(0, 4)),
        (9, (1, 0), Send(1, 4)),
        (3, (1, 1), None),
        (4, (1, 1), Send(0, 4)),
        (9, (2, 1), Send(1, 4)),
        (9, (2, 2), None),
    ],
    ids=[
        "nothing waits",
        "no worker",
        "an idle worker takes what waits",
        "the idle one before the busy one",
        "no half batch is prepared",
        "a full batch is prepared",
        "one prepared is enough",
        "all hands are full",
    ],
)
def test_greedy(waiting: int, batches: tuple[int, ...], decision: Send | None) -> None:
    policy = Greedy(batch_size=4)
    policy.observe(Done(4, PREPARE_BELOW / 2))
    assert policy.decide(view(waiting, *batches), now=1.0) == decision


def test_greedy_prepares_nothing_behind_long_batches() -> None:
    policy = Greedy(batch_size=1)
    assert policy.decide(view(5, 1), 0) is None, "no batch was measured yet"
    policy.observe(Done(1, PREPARE_BELOW * 10))
    assert policy.decide(view(5, 1), 0) is None
    for _ in range(30):
        policy.observe(Done(1, PREPARE_BELOW / 10))
    assert policy.decide(view(5, 1), 0) == Send(0, 1)


def test_delay_waits_for_a_full_batch_or_its_time() -> None:
    policy = Delay(batch_size=4, max_delay=0.1)
    idle = [WorkerView(0, 0, idle_since=5.0)]
    assert policy.decide(View(1, 4.0, idle), now=5.0) == 5.1
    assert policy.decide(View(4, 4.0, idle), now=5.0) == Send(0, 4)
    assert policy.decide(View(1, 4.0, idle), now=5.1) == Send(0, 4)
    assert policy.decide(View(0, 4.0, idle), now=9.0) is None
    assert policy.decide(View(8, 4.0, [WorkerView(0, 1)]), now=9.0) is None


def test_the_policy_is_chosen_by_name() -> None:
    assert isinstance(make_policy("greedy", 1, 100), Greedy)
    assert isinstance(make_policy("delay", 1, 100), Delay)
