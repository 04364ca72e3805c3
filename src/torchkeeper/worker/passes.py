"""How often a handler is asked for a batch whose requests cannot all be answered together. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_passes(
    count: int, first: Mapping[int, T], ask: Callable[[Sequence[int]], Mapping[int, T]]
) -> dict[int, T]:
    """The outcome of each request of a batch; the handler is asked for it `count` times at most.

    First all requests were asked for, then together are those that this left without an outcome. If that
    leaves some again, the handler knows of one culprit at a time: from then on they are asked for by halves.

    Args:
        first: the outcomes of the first pass, of one request at least.
        ask: gets the places of some requests; gives the outcomes of one of them at least, and none of others.
    """
    outcomes: dict[int, T] = {}
    groups: deque[Sequence[int]] = deque([range(count)])
    found = first
    while True:
        group = groups.popleft()
        outcomes |= found
        if len(outcomes) == count:
            return outcomes
        rest = [place for place in group if place not in outcomes]
        if len(rest) == len(group):
            raise RuntimeError(f"no outcome for any of {len(group)} requests")
        half = len(rest) // 2 if found is not first else 0
        groups.extend(part for part in (rest[:half], rest[half:]) if part)
        found = ask(groups[0])
