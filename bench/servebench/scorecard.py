"""A row of the scorecard: what is done, what came of it, and whether that is what was aimed at. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from servebench.servers import Kind

#: What a trial gives: numbers by their names.
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Goal:
    """What a figure must be, at most or at least."""

    figure: str
    most: float | None = None
    least: float | None = None

    def met(self, figures: Figures) -> bool:
        """Whether it is; a figure that is not there is not."""
        value = figures.get(self.figure)
        if value is None:
            return False
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        bounds = [
            f"{sign} {bound:g}" for sign, bound in (("≤", self.most), ("≥", self.least)) if bound is not None
        ]
        bounds = [f"{self.most:g}"] if self.most == self.least and self.most is not None else bounds
        return f"{self.figure}: {' and '.join(bounds)}"


@dataclass(frozen=True)
class Row:
    """What is done to a server of its own, and what is aimed at."""

    #: Its number in the scorecard.
    number: str
    what: str
    trial: Callable[[Kind], Figures]
    goals: Sequence[Goal]
    #: Whether it is done to TorchServe, too; a row that is not says why.
    not_theirs: str = ""

    def verdict(self, figures: Figures) -> str:
        """`met`, or what is not."""
        missed = [goal.figure for goal in self.goals if not goal.met(figures)]
        return f"not met: {', '.join(missed)}" if missed else "met"


def words(figures: Figures) -> str:
    """`lost per kill: 0, s to full capacity: 0.12`."""
    return ", ".join(f"{name}: {_number(value)}" for name, value in figures.items())


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
