"""How many requests may share a batch whose cost is bounded. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable

#: What sums of fractions may be off by, in numbers of requests.
_INEXACT = 1e-6


def fitting(costs: Iterable[float], most: int, max_cost: float) -> int:
    """Requests that a batch may have: the first ones of those who wait, or all and as many more as would fit.

    It ends before the first one that would cost too much, and nobody behind that one overtakes it; whatever
    the first one costs, it goes. Who may still come is taken to cost the mean of those who wait.

    Args:
        costs: of those who wait, in the order in which they came.
        most: requests that the batch may have; where they fit, or cost nothing, any number does.
        max_cost: what several may cost together.
    """
    count, cost = 0, 0.0
    for one in costs:
        cost += one
        if count and cost > max_cost:
            return count
        count += 1
        if count >= most:
            return sys.maxsize
    if not cost:
        return sys.maxsize
    return count + int(min(max(max_cost - cost, 0.0) * count / cost + _INEXACT, most))
