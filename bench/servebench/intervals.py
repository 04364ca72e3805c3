"""How far the mean of a few measured ratios can be trusted. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Quantiles of Student's t at 0.975 by degrees of freedom; with more of them the normal one is near.
_T = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL = 1.96


@dataclass(frozen=True)
class Interval:
    """A mean, and between which numbers the true one lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def interval(ratios: Sequence[float]) -> Interval:
    """The geometric mean of ratios, with Student's interval of their logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    middle, degrees = statistics.fmean(logs), len(logs) - 1
    if not degrees:
        return Interval(math.exp(middle), 0.0, math.inf)
    quantile = _T[degrees] if degrees < len(_T) else _NORMAL
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
