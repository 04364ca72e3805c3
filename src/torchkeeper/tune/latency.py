"""Latencies as figures: percentiles, spread, and the moments at which an open loop sends. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that at least `share` (0 to 1) of all values do not exceed; NaN where there is none.

    Args:
        ordered: the values, ascending.
        share: 0.99 for p99.
    """
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(round(share * len(ordered), 9)) - 1, 0)]


def spread(values: Sequence[float]) -> float:
    """How far repeated measurements lie apart, by their mean; 0 where there is no second one."""
    mean = sum(values) / len(values) if values else 0.0
    return (max(values) - min(values)) / mean if mean and len(values) > 1 else 0.0


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which requests arrive by themselves (Poisson), `rate` of them a second.

    The same seed gives the same moments, so that candidates are asked alike.
    """
    generator = random.Random(seed)
    at = generator.expovariate(rate)
    while at < seconds:
        yield at
        at += generator.expovariate(rate)
