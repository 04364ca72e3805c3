"""How long one more request would wait, from what the last batches took."""

from __future__ import annotations

import random
from collections import deque

import pytest

from torchkeeper.engine.admission import Full
from torchkeeper.engine.tempo import FEWEST, LAST, Tempo


def tempo(*batches: tuple[int, float]) -> Tempo:
    made = Tempo()
    for count, seconds in batches:
        made.took(count, seconds)
    return made


def test_those_ahead_are_served_by_all_workers_in_batches_of_the_usual_size() -> None:
    found = tempo(*[(4, 0.5)] * FEWEST)
    assert found.wait(80, workers=2) == 5.0
    assert found.wait(0, workers=2) == 0.0


def test_before_some_batches_are_measured_and_without_workers_nobody_knows() -> None:
    assert tempo(*[(1, 1.0)] * (FEWEST - 1)).wait(5, 1) is None
    assert tempo(*[(1, 1.0)] * FEWEST).wait(5, 0) is None


def test_a_batch_that_took_long_counts_as_one_and_old_ones_are_forgotten() -> None:
    first_is_slow = tempo((1, 60.0), *[(1, 0.1)] * (FEWEST - 1))
    assert first_is_slow.wait(1, 1) == 0.1
    slower = tempo(*[(1, 0.1)] * LAST, *[(1, 2.0)] * (LAST // 2 + 1))
    assert slower.wait(1, 1) == 2.0


@pytest.mark.parametrize(("ahead", "patience", "served"), [(7, 1.0, True), (9, 1.0, False), (9, 2.0, True)])
def test_whose_time_would_be_over_is_not_taken(ahead: int, patience: float, served: bool) -> None:
    found = tempo(*[(1, 0.1)] * FEWEST)
    if served:
        found.check(ahead, 1, patience)
    else:
        with pytest.raises(
            Full, match=r"^9 requests wait already, for about 0.9 s; the client waits for 1 s$"
        ):
            found.check(ahead, 1, patience)


def test_what_nobody_knows_is_tried() -> None:
    Tempo().check(1000, 1, 0.001)


@pytest.mark.parametrize(("ahead", "seconds"), [(0, 1), (5, 1), (100, 10), (101, 11)])
def test_when_to_come_again(ahead: int, seconds: int) -> None:
    assert tempo(*[(1, 0.1)] * FEWEST).retry_after(ahead, 1) == seconds
    assert Tempo().retry_after(ahead, 1) == 1


def good_share(*, judged: bool, patience: float = 1.0, work: float = 0.02, seconds: float = 20.0) -> float:
    """One worker that is asked for three times what it can do: the share of its time that is of use.

    Clients leave when their patience is over; whoever has left is not begun. The first half is not counted.
    """
    chance = random.Random(0)
    found, waiting, free, useful, arrival = Tempo(), deque[float](), 0.0, 0, 0.0
    while arrival < seconds:
        arrival += chance.expovariate(3 / work)
        while waiting and free <= arrival:
            begun = max(free, waiting[0])
            came = waiting.popleft()
            if begun - came > patience:
                continue
            free = begun + work * chance.uniform(0.8, 1.2)
            found.took(1, free - begun)
            useful += free - came <= patience and free > seconds / 2
        while waiting and arrival - waiting[0] > patience:
            waiting.popleft()
        try:
            if judged and waiting:
                found.check(len(waiting), 1, patience)
        except Full:
            continue
        if len(waiting) < 100:
            waiting.append(arrival)
    return useful * work / (seconds / 2)


def test_under_overload_what_is_computed_is_wanted_where_clients_say_how_long_they_wait() -> None:
    assert good_share(judged=True) > 0.95
    assert good_share(judged=False) < 0.5, "else they are served when they are about to leave"
