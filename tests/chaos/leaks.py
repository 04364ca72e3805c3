"""Memory that grows: samples in, a slope out that a few odd samples don't change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Growth of the second number per unit of the first: the median of the slopes of all pairs.

    Source: Theil and Sen's estimator. NaN-free as long as two samples differ in the first number.
    """
    return median((y - b) / (x - a) for (a, b), (x, y) in combinations(samples, 2) if x != a)
