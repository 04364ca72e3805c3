"""How many requests a batch may have: as many as a handler answers together as it answers each alone.

Many handlers are right only for one item: they answer the first row only, give rows another order, or let
them flow into each other (padding, statistics over the batch). Samples show it, side by side and at several
places, if they have different answers. What is the same is one rule (`wire.agreement`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from torchkeeper.wire.agreement import Check, differs
from torchkeeper.wire.messages import Reply, Together
from torchkeeper.worker.service import Service
from torchkeeper.worker.warm_up import SampleFile, WarmUpFailed, answered

_SAME = Check()
#: Characters of a reason: an answer may have long keys.
_LONGEST = 500


def find_together(service: Service, given: Sequence[SampleFile], most: int) -> Together:
    """Has the whole handler answer the samples alone and in batches of 2 to `most`, and compares the answers.

    Where the memory does not suffice for `most`, half as many are tried, and so on. What the handler records
    is forgotten.

    Raises:
        WarmUpFailed: a sample is not answered although it is alone.
    """
    if not given:
        return Together(why="there are no samples: execution.warmup names none, and no folder warmup has any")
    with service.forgetting():
        alone, again = ([answered(service, (sample,))[0] for sample in given] for _ in range(2))
        why = _random(given, alone, again) or _alike(alone)
        trial = _Trial(service, given, alone)
        if not why:
            why = trial.first_difference(_pairs(len(given)))
        while not why and most > 2:
            why = trial.first_difference(_orders(len(given), most))
            if not service.too_large:
                break
            why, most = "", (service.too_large if service.too_large > 1 else most) // 2
    return Together(1, " ".join(why.split())[:_LONGEST]) if why else Together(max(most, 2))


def _random(given: Sequence[SampleFile], alone: Sequence[Reply], again: Sequence[Reply]) -> str:
    for sample, one, other in zip(given, alone, again, strict=True):
        if why := _difference(one, other):
            return f"{sample.name} is answered differently each time, even alone: {why}"
    return ""


def _alike(alone: Sequence[Reply]) -> str:
    """Why these answers would show nothing: of neighbours in a batch, no two are different."""
    if any(_difference(one, other) for one, other in itertools.pairwise((*alone, alone[0]))):
        return ""
    many = "there is one sample" if len(alone) == 1 else "all samples have the same answer"
    return f"{many}: two with different answers are needed to see that rows are not mixed up"


def _difference(expected: Reply, found: Reply) -> str:
    if found.status != expected.status:
        return f"its status is {found.status} instead of {expected.status}"
    return differs(expected.body, found.body, _SAME) or ""


def _pairs(count: int) -> Iterator[Sequence[int]]:
    """Each sample beside the next one, so that each has been at both places."""
    for number in range(count):
        yield number, (number + 1) % count


def _orders(count: int, size: int) -> Iterator[Sequence[int]]:
    """Batches of `size`, in two orders; then of all samples, each once, if they are fewer than that."""
    full = [number % count for number in range(size)]
    yield full
    mixed = list(full)
    random.Random(size).shuffle(mixed)  # the same in every worker; no regular mistake fits both orders
    yield mixed
    if 2 < count < size:
        yield range(count)
        yield range(count)[::-1]


class _Trial:
    """Compares what batches of samples are answered with what each was answered `alone`."""

    def __init__(self, service: Service, given: Sequence[SampleFile], alone: Sequence[Reply]) -> None:
        self._service = service
        self._given = given
        self._alone = alone

    def first_difference(self, orders: Iterator[Sequence[int]]) -> str:
        """What is wrong with the first batch (its samples' numbers) not answered so; empty: nothing."""
        return next(filter(None, map(self._wrong, orders)), "")

    def _wrong(self, order: Sequence[int]) -> str:
        size = len(order)
        try:
            replies = answered(self._service, [self._given[number] for number in order])
        except WarmUpFailed as error:
            return str(error)
        if self._service.halved:
            return f"a batch of {size} failed: {self._service.halved}"
        for number, reply in zip(order, replies, strict=True):
            if why := _difference(self._alone[number], reply):
                return f"{self._given[number].name} in a batch of {size}: {why}"
        return ""
