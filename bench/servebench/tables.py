"""Turns measurements into medians, into the figures with a reach, and into the cells of tables. Pure.

A TorchServe figure at batch size 16 is the better of its two delays, chosen per figure after the medians.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from servebench.inputs import COMPILED
from servebench.load import Cell
from servebench.plan import BATCH_1, BATCH_16, CONNECTIONS, DEFAULTS, Case

OURS, THEIRS = "torchkeeper", "TorchServe"
NONE = math.nan


@dataclass(frozen=True)
class Sample:
    """One server run: seconds to the first right answer, MB of memory, cells by connections, answers."""

    case: Case
    start: float
    memory: float
    cells: dict[int, Cell]
    checked: int
    wrong: int


@dataclass
class Results:
    """All runs of all rounds, and the in-process limits (images per second), one per round."""

    samples: list[Sample] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def figure(
        self, server: str, workload: str, setup: str, pick: Callable[[Sample], float], best: str
    ) -> float:
        """The median over rounds; of several archives the `best` ("max" or "min"). NaN if not measured."""
        by_archive: dict[str, list[float]] = {}
        for sample in self.samples:
            case = sample.case
            if case.server == server and case.variant.workload == workload and setup in case.setups:
                by_archive.setdefault(case.variant.name, []).append(pick(sample))
        medians = [statistics.median(values) for values in by_archive.values()]
        medians = [value for value in medians if not math.isnan(value)]
        if not medians:
            return NONE
        return max(medians) if best == "max" else min(medians)

    def rate(self, server: str, workload: str, setup: str, connections: int) -> float:
        """Right answers per second."""
        return self.figure(server, workload, setup, lambda s: _cell(s, connections).rate, "max")

    def p50(self, server: str, workload: str, setup: str, connections: int) -> float:
        """Median latency, ms."""
        return self.figure(server, workload, setup, lambda s: _cell(s, connections).p50, "min")

    def p99(self, server: str, workload: str, setup: str, connections: int) -> float:
        """99th percentile of latency, ms."""
        return self.figure(server, workload, setup, lambda s: _cell(s, connections).p99, "min")

    def start(self, server: str, workload: str, setup: str) -> float:
        """Seconds from the command to the first right answer."""
        return self.figure(server, workload, setup, lambda s: s.start, "min")

    def memory(self, server: str, workload: str, setup: str) -> float:
        """PSS of the process tree after the load, MB."""
        return self.figure(server, workload, setup, lambda s: s.memory, "min")

    def bad(self, server: str, workload: str, setup: str) -> int:
        """Requests that failed or were answered wrongly, over all rounds and archives."""
        return sum(
            s.wrong + sum(cell.errors for cell in s.cells.values())
            for s in self.samples
            if s.case.server == server and s.case.variant.workload == workload and setup in s.case.setups
        )

    @property
    def limit(self) -> float:
        """The in-process limit, images per second."""
        return statistics.median(self.limits) if self.limits else NONE


def _cell(sample: Sample, connections: int) -> Cell:
    return sample.cells.get(connections, Cell(NONE, NONE, NONE, 0))


@dataclass(frozen=True)
class Reach:
    """A figure with a goal: the ratio ours ÷ theirs must be at least or at most `goal` (None: only told)."""

    figure: str
    ours: float
    theirs: float
    unit: str
    goal: float | None
    at_least: bool
    before: str

    @property
    def ratio(self) -> float:
        """Ours ÷ theirs, NaN if either was not measured."""
        return self.ours / self.theirs if self.theirs else NONE

    @property
    def verdict(self) -> str:
        """`pass`, `short`, `told` (no goal) or a dash (not measured)."""
        if math.isnan(self.ratio):
            return "–"
        if self.goal is None:
            return "told"
        return "pass" if (self.ratio >= self.goal if self.at_least else self.ratio <= self.goal) else "short"

    @property
    def goal_text(self) -> str:
        """`≥ 1.3` or `≤ 0.5`."""
        return "reported" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g}"


def reaches(results: Results) -> list[Reach]:
    """The figures with a goal, in the order of the benchmark's page."""

    def rate(workload: str, setup: str, connections: int, goal: float | None, before: str) -> Reach:
        ours, theirs = (results.rate(s, workload, setup, connections) for s in (OURS, THEIRS))
        name = f"{workload}, {setup}, {_plural(connections)}"
        return Reach(name, ours, theirs, "requests/s", goal, True, before)

    def p50(workload: str, setup: str, goal: float, before: str) -> Reach:
        ours, theirs = (results.p50(s, workload, setup, 1) for s in (OURS, THEIRS))
        return Reach(f"{workload}, {setup}, 1 connection, p50", ours, theirs, "ms", goal, False, before)

    def whole(what: str, unit: str, get: Callable[[str, str, str], float], before: str) -> Reach:
        ours, theirs = (get(server, "mnist", DEFAULTS) for server in (OURS, THEIRS))
        return Reach(f"mnist, defaults, {what}", ours, theirs, unit, 0.5, False, before)

    def compiled(setup: str, connections: int, beside: str) -> Reach:
        ours = results.rate(OURS, COMPILED, setup, connections)
        eager = results.rate(beside, "mnist", setup, connections)
        name = f"{COMPILED}, {setup}, {_plural(connections)} ÷ {beside}'s mnist"
        return Reach(name, ours, eager, "requests/s", None, True, "–")

    limit = results.rate(OURS, "mnist", BATCH_16, 64)
    return [
        rate("mnist", DEFAULTS, 16, 10, "35"),
        rate("mnist", BATCH_16, 64, 1.1, "1.25"),
        Reach(
            "mnist, batch 16, 64 connections ÷ in-process limit",
            limit,
            results.limit,
            "requests/s",
            0.7,
            True,
            "0.75",
        ),
        rate("mnist", BATCH_16, 16, 1.2, "1.2–1.5"),
        p50("mnist", BATCH_16, 0.6, "0.5"),
        p50("mnist", BATCH_1, 0.8, "0.7"),
        *(
            compiled(setup, connections, beside)
            for setup, connections in ((DEFAULTS, 16), (BATCH_16, 16), (BATCH_16, 64))
            for beside in (OURS, THEIRS)
        ),
        rate("echo", BATCH_16, 64, 1.3, "1.6–2"),
        p50("echo", BATCH_1, 0.5, "0.3"),
        rate("accel", BATCH_16, 1, 1.8, "2.1"),
        rate("accel", BATCH_16, 64, 1.25, "1.3"),
        rate("accel", BATCH_16, 16, None, "0.72"),
        whole("start → first right answer", "s", results.start, "0.3"),
        whole("memory (PSS)", "MB", results.memory, "0.5"),
    ]


REACH_HEAD = ("figure", "torchkeeper", "compared with", "ratio", "reach", "prototype", "")


def reach_rows(rows: Iterable[Reach]) -> list[tuple[str, ...]]:
    """The reach table's cells as text; figures that were not measured are left out."""
    return [
        (
            row.figure,
            f"{number(row.ours)} {row.unit}",
            f"{number(row.theirs)} {row.unit}",
            f"{row.ratio:.2f}",
            row.goal_text,
            row.before,
            row.verdict,
        )
        for row in rows
        if row.verdict != "–"
    ]


FIGURE_HEAD = (
    "workload",
    "set-up",
    "server",
    "requests/s at 1 / 16 / 64",
    "p50 ms",
    "p99 ms",
    "errors",
    "start s",
    "memory MB",
)


def figure_rows(results: Results, workloads: Sequence[str]) -> list[tuple[str, ...]]:
    """All figures as text: a row per workload, set-up and server."""
    rows: list[tuple[str, ...]] = []
    for workload in workloads:
        for setup in (DEFAULTS, BATCH_1, BATCH_16):
            for server in (THEIRS, OURS):
                rates = [results.rate(server, workload, setup, n) for n in CONNECTIONS]
                if all(math.isnan(rate) for rate in rates):
                    continue
                key = (server, workload, setup)
                rows.append(
                    (
                        workload,
                        setup,
                        server,
                        _joined(rates),
                        _joined(results.p50(*key, n) for n in CONNECTIONS),
                        _joined(results.p99(*key, n) for n in CONNECTIONS),
                        str(results.bad(*key)),
                        number(results.start(*key)),
                        number(results.memory(*key)),
                    )
                )
    return rows


SPREAD_HEAD = ("workload", "archive", "server", "requests/s of each round at 1", "at 16", "at 64", "checked")


def spread_rows(results: Results) -> list[tuple[str, ...]]:
    """Every round's requests/s, so that a reader sees how far the medians can be trusted."""
    groups: dict[tuple[str, str, str, bool], list[Sample]] = {}
    for sample in results.samples:
        case = sample.case
        key = (case.variant.workload, case.variant.name, case.server, case.tuned)
        groups.setdefault(key, []).append(sample)
    return [
        (
            workload,
            archive,
            f"{server}, tuned" if tuned else server,
            *(", ".join(number(_cell(s, n).rate) for s in group) for n in CONNECTIONS),
            str(sum(s.checked for s in group)),
        )
        for (workload, archive, server, tuned), group in groups.items()
    ]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def number(value: float) -> str:
    """Three digits, more only for whole thousands: 0.21, 4.35, 87.2, 1,849, 28,012; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _joined(values: Iterable[float]) -> str:
    return " / ".join(number(value) for value in values)


def _plural(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
