"""Short requests among long ones, with and without a bound for what a batch costs, in simulated time.

A batch is padded to its longest request. Writes a table as bench/results/DATE-batching-costs.md; the figures
do not depend on the machine.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))

from batching.loads import closed, exponential
from batching.run import MS, POLICIES, RESULTS, over_best, table
from batching.simulator import Model, Simulation, percentile

#: How often requests have which length.
MIXES = {
    "1 % are 64": ((0.99, 1.0), (0.01, 64.0)),
    "10 % are 16": ((0.9, 1.0), (0.1, 16.0)),
    "evenly 1 to 8": tuple((0.125, float(length)) for length in range(1, 9)),
}
MODELS = {
    "5 + 0.1 n ms, 1 worker, batch 16": Model(5 * MS, 0.1 * MS, 1, 16),
    "2 + 0.5 n ms, 2 workers, batch 32": Model(2 * MS, 0.5 * MS, 2, 32),
}
CLIENTS = (4, 16, 64)
#: maxBatchCost; None: there is none.
BOUNDS = (None, 16.0, 32.0)

HEAD = """# Batches with bounded costs, simulated, {today}

`{command}`: {seeds} seeds of {requests:,} requests each, the first quarter left out.
A batch of n takes a + b n times its longest, and costs the sum of their lengths. Closed loops of clients
that think 1 ms, at random. Each cell: requests/s of adaptive; p50 and p99 of requests of length 1, in ms;
and its requests/s over those of the best other policy (greedy, delays of 0.5 to 20 ms).

"""


@dataclass(frozen=True)
class MixedRun:
    """One simulation."""

    policy: str
    model: Model
    clients: int
    seed: int
    requests: int

    def measure(self) -> tuple[float, list[float]]:
        """Requests per second, and sorted seconds of the short ones."""
        load = closed(self.clients, exponential(1 * MS))
        simulation = Simulation(POLICIES[self.policy](self.model.batch), self.model, load, self.seed)
        outcome, skip = simulation.run(self.requests), self.requests // 4
        return outcome.rate(skip), outcome.latencies(skip, 1.0)


def cell(pool: ProcessPoolExecutor, model: Model, clients: int, seeds: int, requests: int) -> str:
    """What a model does with so many clients."""
    runs = [MixedRun(policy, model, clients, seed, requests) for policy in POLICIES for seed in range(seeds)]
    measured = list(pool.map(MixedRun.measure, runs, chunksize=4))
    rates = {
        policy: fmean(rate for rate, _ in measured[seeds * place : seeds * (place + 1)])
        for place, policy in enumerate(POLICIES)
    }
    ours = list(POLICIES).index("adaptive") * seeds
    short = sorted(one for _, seconds in measured[ours : ours + seeds] for one in seconds)
    p50, p99 = (percentile(short, share) / MS for share in (0.5, 0.99))
    return f"{rates['adaptive']:.0f}; {p50:.1f}, {p99:.1f}; {over_best(rates):.2f}"


def rows(pool: ProcessPoolExecutor, model: Model, seeds: int, requests: int) -> Iterator[Sequence[str]]:
    """A line for each mix and bound."""
    for mix, lengths in MIXES.items():
        for bound in BOUNDS:
            bounded = replace(model, lengths=lengths, max_cost=bound)
            cells = (cell(pool, bounded, clients, seeds, requests) for clients in CLIENTS)
            yield mix, "" if bound is None else f"{bound:g}", *cells


def main(argv: Sequence[str]) -> None:
    """Runs all, and saves."""
    parser = argparse.ArgumentParser(prog="bench/batching/mixed.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=6000, help="of each simulation")
    parser.add_argument("--processes", type=int)
    arguments = parser.parse_args(argv)
    text = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for title, model in MODELS.items():
            head = ("lengths", "maxBatchCost", *(f"{clients} clients" for clients in CLIENTS))
            found = list(rows(pool, model, arguments.seeds, arguments.requests))
            text.append(f"## {title}\n\n" + table(head, found))
    command = shlex.join(("python", "bench/batching/mixed.py", *argv))
    path = RESULTS / f"{datetime.date.today()}-batching-costs.md"
    path.write_text(
        HEAD.format(command=command, today=datetime.date.today(), **vars(arguments)) + "\n".join(text)
    )
    print(f"saved {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
