"""How often a handler is asked for a batch whose requests cannot all be answered together. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_passes(
    count: int, first: Mapping[int, T], ask: Callable[[Sequence[int]], Mapping[int, T]]
) -> dict[int, T]:
    """The outcome of each request of a batch; the handler is asked for it `2 * count - 1` times at most.

    Requests that failed together, without an outcome for any of them, are asked for by halves, until only the
    guilty ones are left, each alone. Where the handler names culprits, all others are asked for together; if
    that leaves some again, it knows of one culprit at a time, and they are asked for by halves as well.

    Args:
        first: the outcomes of the first pass.
        ask: gets the places of some requests; gives the outcomes of some of them, and of none others. Of a
            single one it gives the outcome.
    """
    outcomes: dict[int, T] = {}
    groups: deque[Sequence[int]] = deque([range(count)])
    found, named = first, False
    while True:
        group = groups.popleft()
        outcomes |= found
        rest = [place for place in group if place not in outcomes]
        if len(rest) == len(group) == 1:
            raise RuntimeError("no outcome for a request that was asked for alone")
        half = 0 if found and not named else len(rest) // 2
        named = named or bool(found)
        groups.extend(part for part in (rest[:half], rest[half:]) if part)
        if not groups:
            return outcomes
        found = ask(groups[0])
