"""How often a handler is asked for a batch whose requests cannot all be answered together. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_passes(count: int, ask: Callable[[Sequence[int]], Mapping[int, T]]) -> list[T]:
    """One outcome per request of a batch; the handler is asked for it `count` times at most.

    First all requests are asked for, then together those that the first pass left without an outcome. If that
    leaves some again, the handler knows of one culprit at a time: from then on they are asked for by halves.

    Args:
        ask: gets the places of some requests; gives the outcomes of one of them at least, and none of others.
    """
    outcomes: dict[int, T] = {}
    groups: deque[Sequence[int]] = deque([range(count)] if count else ())
    passes = 0
    while groups:
        group = groups.popleft()
        outcomes |= ask(group)
        passes += 1
        if len(outcomes) == count:
            break
        rest = [place for place in group if place not in outcomes]
        if len(rest) == len(group):
            raise RuntimeError(f"no outcome for any of {len(group)} requests")
        half = len(rest) // 2 if passes > 1 else 0
        groups.extend(part for part in (rest[:half], rest[half:]) if part)
    return [outcomes[place] for place in range(count)]
