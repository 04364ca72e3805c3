"""The batching policies under loads of many kinds, in simulated time, on the product's own policy objects.

Writes a table as bench/results/DATE-batching.md and pictures beside it. The figures do not depend on the
machine: the same command gives the same ones everywhere.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))

from batching.chart import chart
from batching.loads import bursts, closed, constant, exponential, poisson, stragglers
from batching.simulator import Load, Model, Simulation, percentile
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Policy
from torchkeeper.engine.batching.targeted import Targeted

RESULTS = Path(__file__).parents[1] / "results"
MS = 0.001
DELAYS = (0.5, 1, 2, 5, 20)
POLICIES: Mapping[str, Callable[[int], Policy]] = {
    "adaptive": Adaptive,
    "greedy": Greedy,
    **{f"delay {delay:g}": lambda size, delay=delay: Delay(size, delay * MS) for delay in DELAYS},
}
MODELS = {
    "5 + 0.1 n ms, 1 worker, batch 16": Model(5 * MS, 0.1 * MS, 1, 16),
    "5 + 0.1 n ms, 1 worker, batch 64": Model(5 * MS, 0.1 * MS, 1, 64),
    "0.15 + 0.35 n ms, 2 workers, batch 16": Model(0.15 * MS, 0.35 * MS, 2, 16),
    "40 + 2 n ms, 1 worker, batch 16": Model(40 * MS, 2 * MS, 1, 16),
}
THINKS = {
    "0.3 ms": constant(0.3 * MS),
    "2 ms": constant(2 * MS),
    "exp. 1 ms": exponential(1 * MS),
    "exp. 4 ms": exponential(4 * MS),
    "0.3 ms, 5 % of 20 ms": stragglers(0.3 * MS, 0.05, 20 * MS),
}
CLIENTS = (1, 2, 3, 4, 8, 12, 16, 24, 32, 64, 128, 256)
PARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

#: Loads of which each changes into each other one.
CHANGING = (
    "closed 16 0.3 ms",
    "closed 4 0.3 ms",
    "closed 64 exp. 1 ms",
    "closed 12 exp. 1 ms",
    "poisson 0.3",
    "poisson 0.8",
)

HEAD = """# Batching policies, simulated, {today}

`{command}`: {seeds} seeds of {requests:,} requests each (40 for each client at least), the first
quarter left out. What a batch costs varies by 2 %.

"""
CLOSED = """## Closed loops

Requests/s of adaptive over those of the better of greedy and the best delay, by the number of clients.
"""
STREAMS = """
## Arrivals at random

p50 / p99 of adaptive over those of greedy, at parts of the capacity.
"""
CHANGES = """
## A change of the load

Requests 200 to 600 after it, pooled over {seeds} seeds: for closed loops requests/s over the best other
policy's, else p50 / p99 over greedy's.

"""
TARGETS = """
## latencyTarget

The target is so many times what a full batch takes. Arrivals at random, at parts of the capacity: how many of
those who were taken had their answers in time, and answers in time per second over the capacity.

"""
STRANGERS = """
## {count} models at random

a from 0.5 to 50 ms, b from 0.0025 to 0.25 of it, 1, 2 or 4 workers, batches of 8 to 64. Closed loops (2, 8,
16, 32 and 64 clients, two thinking times): how many have at least 0.95 of the best other policy's requests/s,
and the lowest. Poisson at 10, 50 and 80 % of the capacity: the largest p50 and p99 over greedy's.

"""


def make_load(kind: str, model: Model) -> Load:
    """A load by its name: `closed CLIENTS THINK`, `poisson PART` or `bursts SIZE PART` of the capacity."""
    what, _, rest = kind.partition(" ")
    if what == "closed":
        clients, _, think = rest.partition(" ")
        return closed(int(clients), THINKS[think])
    if what == "poisson":
        return poisson(float(rest) * model.capacity)
    size, part = rest.split(" ")
    return bursts(float(part) * model.capacity, int(size))


@dataclass(frozen=True)
class Run:
    """One simulation: of how many requests, of which the first are left out; after another load, or not."""

    policy: str
    model: Model
    load: str
    seed: int
    requests: int
    skip: int
    before: str = ""
    #: Requests of the load before.
    settled: int = 0
    #: Seconds of latencyTarget; 0: none.
    target: float = 0.0

    def measure(self) -> tuple[float, list[float]]:
        """Requests per second, and sorted seconds from request to answer."""
        first = make_load(self.before or self.load, self.model)
        policy = POLICIES[self.policy](self.model.batch)
        if self.target:
            policy = Targeted(policy, self.model.batch, self.target)
        simulation = Simulation(policy, self.model, first, self.seed)
        if self.before:
            simulation.run(self.settled)
            simulation.change(make_load(self.load, self.model))
        outcome = simulation.run(self.settled + self.requests)
        skip = self.settled + self.skip
        return outcome.rate(skip), outcome.latencies(skip)


@dataclass(frozen=True)
class Figures:
    """What one policy did under one load, over all seeds: requests/s, and seconds."""

    rate: float
    p50: float
    p99: float


Found = dict[tuple[Model, str, str], Figures]
Ask = Callable[[Iterable[Run]], list[tuple[float, list[float]]]]


def figures(ask: Ask, runs: Sequence[Run]) -> Found:
    """By model, load (with the one before it) and policy."""
    pooled: dict[tuple[Model, str, str], tuple[list[float], list[float]]] = {}
    for run, (rate, latencies) in zip(runs, ask(runs), strict=True):
        load = f"{run.before} → {run.load}" if run.before else run.load
        rates, seconds = pooled.setdefault((run.model, load, run.policy), ([], []))
        rates.append(rate)
        seconds += latencies
    found = {}
    for key, (rates, seconds) in pooled.items():
        seconds.sort()
        found[key] = Figures(fmean(rates), percentile(seconds, 0.5), percentile(seconds, 0.99))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def over_best(rates: Mapping[str, float]) -> float:
    """The rate of adaptive over that of the best other policy."""
    return rates["adaptive"] / max(rate for policy, rate in rates.items() if policy != "adaptive")


class Report:
    """The page, section by section.

    Args:
        ask: runs simulations, and gives their figures in the same order.
        name: of the page and its pictures.
    """

    def __init__(self, ask: Ask, seeds: int, requests: int, name: str) -> None:
        self._ask, self._seeds, self._requests, self._name = ask, seeds, requests, name
        self.text: list[str] = []

    def _runs(self, model: Model, loads: Sequence[str], policies: Iterable[str]) -> list[Run]:
        return [
            Run(policy, model, load, seed, self._enough(load), self._enough(load) // 4)
            for load in loads
            for policy in policies
            for seed in range(self._seeds)
        ]

    def _enough(self, load: str) -> int:
        clients = int(load.split(" ")[1]) if load.startswith("closed") else 0
        return max(self._requests, 40 * clients)

    def closed_loops(self) -> None:
        """Clients with one request at a time: the rate of adaptive over that of the best other policy."""
        self.text.append(CLOSED)
        worst = []
        for title, model in MODELS.items():
            rows = []
            for think in THINKS:
                loads = [f"closed {clients} {think}" for clients in CLIENTS]
                found = figures(self._ask, self._runs(model, loads, POLICIES))
                ratios = [over_best(self._rates(found, model, load)) for load in loads]
                worst += [(ratio, f"{title}, {load}") for ratio, load in zip(ratios, loads, strict=True)]
                rows.append((think, *(f"{ratio:.2f}" for ratio in ratios)))
                if think == next(iter(THINKS)):
                    self._draw(title, "clients", [str(count) for count in CLIENTS], loads, found)
            self.text.append(f"\n{title}:\n\n" + table(("clients think", *map(str, CLIENTS)), rows))
        lowest = "; ".join(f"{ratio:.3f} ({where})" for ratio, where in sorted(worst)[:3])
        self.text.append(f"\nThe lowest: {lowest}.\n")

    @staticmethod
    def _rates(found: Found, model: Model, load: str) -> dict[str, float]:
        return {policy: found[model, load, policy].rate for policy in POLICIES}

    def _draw(self, title: str, what: str, ticks: Sequence[str], loads: Sequence[str], found: Found) -> None:
        model = MODELS[title]
        policies = [policy for policy in POLICIES if (model, loads[0], policy) in found]
        for figure, unit, scale in (("rate", "requests/s", 1.0), ("p99", "ms", 1000.0)):
            lines = {
                policy: [getattr(found[model, load, policy], figure) * scale for load in loads]
                for policy in policies
            }
            picture = f"{self._name}-{what}-{list(MODELS).index(title) + 1}-{figure}.svg"
            heading = f"{title}: {figure} over {what}"
            (RESULTS / picture).write_text(chart(heading, ticks, lines, unit))
            self.text.append(f"\n![{heading}]({picture})\n")

    def streams(self) -> None:
        """Arrivals that wait for nobody: latencies of adaptive over those of greedy."""
        self.text.append(STREAMS)
        rows = []
        for title, model in MODELS.items():
            for kind in ("poisson", "bursts 8"):
                loads = [f"{kind} {part}" for part in PARTS]
                found = figures(self._ask, self._runs(model, loads, ("adaptive", "greedy")))
                rows.append((f"{title}, {kind}", *(self._latencies(model, load, found) for load in loads)))
                if kind == "poisson":
                    self._draw(title, "load", [f"{part:.0%}" for part in PARTS], loads, found)
        self.text.append("\n" + table(("", *(f"{part:.0%}" for part in PARTS)), rows))

    @staticmethod
    def _latencies(model: Model, load: str, found: Found) -> str:
        ours, greedy = found[model, load, "adaptive"], found[model, load, "greedy"]
        return f"{ours.p50 / greedy.p50:.2f} / {ours.p99 / greedy.p99:.2f}"

    def changes(self, seeds: int) -> None:
        """Requests 200 to 600 after the load has changed its kind."""
        self.text.append(CHANGES.format(seeds=seeds))
        rows = []
        for title, model in MODELS.items():
            for before in CHANGING:
                cells = [
                    "" if load == before else self._change(model, before, load, seeds) for load in CHANGING
                ]
                rows.append((f"{title}: {before}", *cells))
        self.text.append(table(("from, to", *CHANGING), rows))

    def _change(self, model: Model, before: str, load: str, seeds: int) -> str:
        in_loops = load.startswith("closed")
        runs = [
            Run(policy, model, load, seed, 600, 200, before, 1000)
            for policy in (POLICIES if in_loops else ("adaptive", "greedy"))
            for seed in range(seeds)
        ]
        found, key = figures(self._ask, runs), f"{before} → {load}"
        if in_loops:
            return f"{over_best(self._rates(found, model, key)):.2f}"
        return self._latencies(model, key, found)

    def targets(self) -> None:
        """latencyTarget under overload: who is answered in time, and how much of what could be."""
        self.text.append(TARGETS)
        rows = []
        for title, model in MODELS.items():
            for times in (1.5, 1.75, 2.0, 3.0):
                target = times * (model.a + model.b * model.batch)
                loads = [f"poisson {part}" for part in (0.5, 1.5, 3.0)]
                runs = [
                    Run("adaptive", model, load, seed, self._requests, self._requests // 4, target=target)
                    for load in loads
                    for seed in range(self._seeds)
                ]
                cells = []
                for rate, seconds in self._pooled(runs):
                    in_time = sum(second <= target for second in seconds) / len(seconds)
                    cells.append(f"{in_time:.2%}, {rate * in_time / model.capacity:.2f}")
                rows.append((title, f"{target / MS:.1f} ms ({times:g})", *cells))
        self.text.append(table(("", "target", "50 %", "150 %", "300 %"), rows))

    def _pooled(self, runs: Sequence[Run]) -> list[tuple[float, list[float]]]:
        """Mean rate and all seconds, of each load's seeds."""
        measured, found = self._ask(runs), []
        for at in range(0, len(runs), self._seeds):
            some = measured[at : at + self._seeds]
            found.append((fmean(rate for rate, _ in some), [one for _, seconds in some for one in seconds]))
        return found

    def strangers(self, count: int) -> None:
        """Models at random that nobody looked at while the policy was made."""
        self.text.append(STRANGERS.format(count=count))
        random, rows = Random(20261129), []
        for _ in range(count):
            a = 0.5 * MS * 100 ** random.random()
            b = a / 4 * 10 ** random.uniform(-2, 0)
            model = Model(a, b, random.choice((1, 1, 2, 4)), random.choice((8, 16, 32, 64)))
            rows.append(self._stranger(model))
        self.text.append(table(("cost, workers, batch", "closed loops met", "lowest", "p50", "p99"), rows))

    def _stranger(self, model: Model) -> tuple[str, ...]:
        loops = [
            f"closed {clients} {think}" for clients in (2, 8, 16, 32, 64) for think in ("0.3 ms", "exp. 1 ms")
        ]
        streams = [f"poisson {part}" for part in (0.1, 0.5, 0.8)]
        runs = self._runs(model, loops, POLICIES) + self._runs(model, streams, ("adaptive", "greedy"))
        found = figures(self._ask, runs)
        ratios = [(over_best(self._rates(found, model, load)), load) for load in loops]
        pairs = [(found[model, load, "adaptive"], found[model, load, "greedy"]) for load in streams]
        lowest, where = min(ratios)
        return (
            f"{model.a / MS:.2f} + {model.b / MS:.3f} n ms, {model.workers}, {model.batch}",
            f"{sum(ratio >= 0.95 for ratio, _ in ratios)} of {len(ratios)}",
            f"{lowest:.2f} ({where})",
            f"{max(ours.p50 / theirs.p50 for ours, theirs in pairs):.2f}",
            f"{max(ours.p99 / theirs.p99 for ours, theirs in pairs):.2f}",
        )


SECTIONS: Mapping[str, Callable[[Report, argparse.Namespace], None]] = {
    "closed": lambda report, arguments: report.closed_loops(),
    "streams": lambda report, arguments: report.streams(),
    "targets": lambda report, arguments: report.targets(),
    "changes": lambda report, arguments: report.changes(arguments.changes),
    "strangers": lambda report, arguments: report.strangers(arguments.models),
}


def main(argv: Sequence[str]) -> None:
    """Runs all sections, and saves."""
    parser = argparse.ArgumentParser(prog="bench/batching/run.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=4000, help="of each simulation")
    parser.add_argument("--changes", type=int, default=20, help="seeds of each change of the load")
    parser.add_argument("--models", type=int, default=20, help="models at random")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma separated")
    parser.add_argument("--name", default="batching", help="of the result file")
    arguments = parser.parse_args(argv)
    name = f"{datetime.date.today()}-{arguments.name}"
    with ProcessPoolExecutor(arguments.processes) as pool:
        report = Report(
            lambda runs: list(pool.map(Run.measure, runs, chunksize=4)),
            arguments.seeds,
            arguments.requests,
            name,
        )
        for section in arguments.only.split(","):
            SECTIONS[section](report, arguments)
    command = shlex.join(("python", "bench/batching/run.py", *argv))
    head = HEAD.format(command=command, today=datetime.date.today(), **vars(arguments))
    (RESULTS / f"{name}.md").write_text(head + "".join(report.text))
    print(f"saved {RESULTS / name}.md")


if __name__ == "__main__":
    main(sys.argv[1:])
