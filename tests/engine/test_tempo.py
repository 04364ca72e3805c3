"""How long one more request would wait, from what the last batches took."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import pytest

from torchkeeper.engine.admission import Full
from torchkeeper.engine.tempo import FEWEST, KEPT, KEPT_TIMES, LAST, SHARE, Tempo


def tempo(*batches: tuple[int, float]) -> Tempo:
    made = Tempo()
    for count, seconds in batches:
        made.took(count, seconds, 0.0)
    return made


def test_a_batch_takes_what_smaller_ones_took_and_its_share_of_larger_ones() -> None:
    found = tempo(*[(2, 0.5)] * FEWEST, *[(8, 1.0)] * FEWEST)
    assert {count: found.seconds(count) for count in (1, 2, 4, 8, 16)} == {
        1: 0.1875,  # between a share of 0.25 and one of 0.125
        2: 0.5,
        4: 0.5,
        8: 1.0,
        16: 0.75,
    }
    assert tempo(*[(2, 0.5)] * (FEWEST - 1)).seconds(2) == 0.0, "too few"


def test_a_batch_that_took_long_counts_as_one_and_old_ones_are_forgotten() -> None:
    first_is_slow = tempo((1, 60.0), *[(1, 0.1)] * (FEWEST - 1))
    assert first_is_slow.seconds(1) == 0.1
    slower = tempo(*[(1, 0.1)] * LAST, *[(1, 2.0)] * (LAST // 2 + 1))
    assert slower.seconds(1) == 2.0


@pytest.mark.parametrize(("seconds", "kept"), [(0.1, KEPT), (KEPT, KEPT_TIMES * KEPT)])
def test_what_was_long_ago_is_forgotten_later_where_batches_take_long(seconds: float, kept: float) -> None:
    found = tempo(*[(1, seconds)] * FEWEST)
    found.forget(kept - 0.001)
    assert found.seconds(1) == seconds
    found.forget(kept)
    assert found.seconds(1) == 0.0


@pytest.mark.parametrize(
    ("ahead", "busy", "seconds"),
    [
        (0, [0.25], 0.75),
        (7, [0.25], 0.75),
        (8, [0.25], 1.25),
        (62, [0.5], 4.5),
        (8, [0.25, 0.5], 1.0),
        (16, [0.25, 0.5], 1.25),
        (40, [], 0.0),
    ],
)
def test_the_running_batch_those_ahead_and_its_own_are_what_a_request_waits_for(
    ahead: int, busy: list[float], seconds: float
) -> None:
    assert tempo(*[(8, 0.5)] * FEWEST).answered_in(ahead, 8, busy) == seconds


@pytest.mark.parametrize(("ahead", "patience", "served"), [(7, 1.0, True), (9, 1.0, False), (9, 2.0, True)])
def test_whose_time_would_be_over_is_not_taken(ahead: int, patience: float, served: bool) -> None:
    found = tempo(*[(1, 0.1)] * FEWEST)
    if served:
        found.check(ahead, 1, [0.05], patience)
    else:
        words = (
            "^9 requests wait already, one more would be answered in about 1.05 s; the client waits for 1 s$"
        )
        with pytest.raises(Full, match=words):
            found.check(ahead, 1, [0.05], patience)


def test_what_nobody_knows_is_tried() -> None:
    Tempo().check(1000, 1, [0.0], 0.001)


@pytest.mark.parametrize(
    "work", [lambda count: 0.5, lambda count: 0.0625 * count], ids=["constant", "linear"]
)
def test_after_a_quiet_time_nobody_is_refused_whom_full_batches_serve_in_time(
    work: Callable[[int], float],
) -> None:
    """64 come at once, where batches of 8 take half a second and only single ones are known."""
    found = tempo(*[(1, work(1))] * LAST)
    for ahead in range(63):
        found.check(ahead, 8, [work(1)], 4.5 / SHARE)


@pytest.mark.parametrize(("ahead", "seconds"), [(0, 1), (5, 1), (100, 10), (101, 11)])
def test_when_to_come_again(ahead: int, seconds: int) -> None:
    assert tempo(*[(1, 0.1)] * FEWEST).retry_after(ahead, 1, 1) == seconds
    assert tempo(*[(4, 0.2)] * FEWEST).retry_after(2 * ahead, 4, 1) == seconds
    assert tempo(*[(1, 7200.3 - 7200.2)] * FEWEST).retry_after(ahead, 1, 1) == seconds, "as clocks differ"
    assert Tempo().retry_after(ahead, 1, 1) == 1
    assert tempo(*[(1, 0.1)] * FEWEST).retry_after(5, 1, 0) == 1, "nobody serves for now"


class Overloaded:
    """Workers that are asked for three times what they can do, by clients with `patience` seconds.

    Whoever has left is not begun. Times are simulated: a batch takes `work` seconds, and up to `spread` of it
    more or less.
    """

    def __init__(self, most: int, workers: int, patience: float, work: float, spread: float) -> None:
        self.chance = random.Random(0)
        self.found = Tempo()
        self.most, self.patience, self.work, self.spread = most, patience, work, spread
        self.waiting: deque[float] = deque()
        #: By worker: when its batch began and ends, and those in it.
        self.runs: list[tuple[float, float, list[float]]] = [(0.0, 0.0, [])] * workers
        self.in_time: list[float] = []

    def until(self, now: float) -> None:
        """Batches end and begin."""
        while (first := min(self.runs, key=lambda run: run[1]))[1] <= now and (first[2] or self.waiting):
            place, (begun, end, batch) = self.runs.index(first), first
            if batch:
                self.found.took(len(batch), end - begun, end)
                self.in_time += [end for came in batch if end - came <= self.patience]
            taken: list[float] = []
            at = end if batch else max(end, self.waiting[0])
            while self.waiting and len(taken) < self.most:
                came = self.waiting.popleft()
                if at - came <= self.patience:
                    taken.append(came)
            takes = self.work * self.chance.uniform(1 - self.spread, 1 + self.spread) if taken else 0.0
            self.runs[place] = (at, at + takes, taken)
        while self.waiting and now - self.waiting[0] > self.patience:
            self.waiting.popleft()

    def ask(self, now: float, judged: bool) -> None:
        if judged and all(batch for _, _, batch in self.runs):
            seconds = self.found.seconds
            busy = sorted(max(seconds(len(batch)) - (now - begun), 0.0) for begun, _, batch in self.runs)
            try:
                self.found.check(len(self.waiting), self.most, busy, self.patience)
            except Full:
                return
        if len(self.waiting) < 1000:
            self.waiting.append(now)

    def good_share(self, *, judged: bool, batches: int = 200) -> float:
        """The share of the workers' time that is of use; the first half is not counted."""
        capacity = self.most * len(self.runs) / self.work
        now, end = 0.0, batches * self.work
        while now < end:
            now += self.chance.expovariate(3 * capacity)
            self.until(now)
            self.ask(now, judged)
        return sum(end / 2 < at <= end for at in self.in_time) / (capacity * end / 2)


@pytest.mark.parametrize("patience", [2.0, 3.0, 4.0, 6.0], ids="{} batches".format)
@pytest.mark.parametrize(("most", "workers"), [(1, 1), (8, 1), (8, 4)])
@pytest.mark.parametrize(("spread", "good"), [(0.0, 0.95), (0.1, 0.95), (0.2, 0.9)])
def test_under_overload_what_is_computed_is_wanted_where_clients_say_how_long_they_wait(
    most: int, workers: int, patience: float, spread: float, good: float
) -> None:
    def share(judged: bool) -> float:
        return Overloaded(most, workers, patience / 2, 0.5, spread).good_share(judged=judged)

    assert share(True) > good
    assert share(False) < 0.5, "else they are served when they are about to leave"
