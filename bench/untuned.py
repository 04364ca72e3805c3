"""One set-up of ours for every load against the best one of TorchServe's for each load.

    .venv/bin/python bench/untuned.py [--only echo,mnist,accel] [--connections 1,4,16,64,256]

Ours has `batchSize: 64` and nothing else. A pilot round picks TorchServe's batch size and delay for each
number of connections; then both servers run at once and are loaded in turns, in changing order, so that what
the machine does meanwhile meets both. The pilot's figures count for nothing else. Logs are off on both. Needs
wrk.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from servebench import inputs, tables
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.intervals import Interval, interval
from servebench.load import Target
from servebench.machine import machine, versions
from servebench.paths import CACHE, OURS, RESULTS, THEIRS
from servebench.plan import WORKERS
from servebench.servers import TORCHKEEPER, TORCHSERVE, Kind, Question, serving

MODEL = "bench"
STORE = CACHE / "store"
#: Batch sizes and delays (ms) of TorchServe's.
THEIRS_TRIED = ((1, None), *((batch, delay) for batch in (16, 64) for delay in (1, 5, 20)))
#: The only line of our model-config.yaml, but for the number of workers where the archive says one.
BATCH = 64
#: Least ratios: for every number of connections, for some of them, and for the geometric mean.
REACH = {"echo": 1.05, "mnist": 1.05, "accel": 0.97}
REACH_AT = {("echo", 64): 1.5}
REACH_MEAN = {"accel": 1.12}
#: Of both: the default queue of 100 turns some of 256 clients away.
SETTINGS = {"job_queue_size": "1000"}
HEAD = (
    "workload",
    "connections",
    "TorchServe's best",
    "TorchServe",
    "torchkeeper",
    "ratio",
    "95 % interval",
    "reach",
    "",
)


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/untuned.py", description=__doc__)
    parser.add_argument("--only", default="echo,mnist,accel", help="workloads, comma separated")
    parser.add_argument("--connections", default="1,4,16,64,256", help="comma separated")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server that count")
    parser.add_argument("--seconds", type=float, default=4, help="seconds of a turn")
    parser.add_argument("--pilot", type=float, default=3, help="seconds of a turn of the pilot round")
    parser.add_argument("--name", default="untuned", help="name of the result file")
    return parser.parse_args(argv)


@contextmanager
def loaded(kind: Kind, variant: Variant, pictures: Path) -> Iterator[Target]:
    """A server that serves the archive and has answered every picture rightly."""
    archive = inputs.build_archive(variant, TORCHKEEPER.archiver, STORE)
    answers = inputs.answers(variant.workload, pictures, archive, OURS / "bin" / "python")
    first = bytes.fromhex(answers.read_text().splitlines()[0])
    ask = Question(f"/predictions/{MODEL}", (pictures / "0000.png").read_bytes(), first)
    with serving(kind, STORE, {MODEL: archive.name}, True, ask, SETTINGS, quiet=True) as server:
        target = Target(server.port, MODEL, pictures, answers)
        if (checked := target.warm_up(16, 4)).wrong or checked.refused:
            raise BenchError(f"{variant.name}: {checked.wrong} wrong and {checked.refused} refused answers")
        yield target


def rate(target: Target, connections: int, seconds: float) -> float:
    """Answers per second.

    Raises:
        BenchError: some requests failed.
    """
    cell = target.measure(connections, seconds)
    if cell.errors:
        raise BenchError(f"{cell.errors} requests failed at {connections} connections")
    return cell.rate


def pilot(
    workload: str, connections: Sequence[int], seconds: float, pictures: Path
) -> dict[int, tuple[int, int | None]]:
    """TorchServe's best batch size and delay for each number of connections."""
    found: dict[int, dict[tuple[int, int | None], float]] = {number: {} for number in connections}
    for tried in THEIRS_TRIED:
        with loaded(TORCHSERVE, Variant(workload, *tried, WORKERS.get(workload)), pictures) as target:
            for number in connections:
                found[number][tried] = rate(target, number, seconds)
                print(f"{workload} · {tried} · {number}: {found[number][tried]:.0f}", file=sys.stderr)
    return {number: max(rates, key=lambda tried: rates[tried]) for number, rates in found.items()}


def turns(
    workload: str, best: dict[int, tuple[int, int | None]], args: argparse.Namespace, pictures: Path
) -> dict[int, list[tuple[float, float]]]:
    """TorchServe's answers per second and ours, in pairs of neighbouring turns, by connections."""
    pairs: dict[int, list[tuple[float, float]]] = {number: [] for number in best}
    workers = WORKERS.get(workload)
    with loaded(TORCHKEEPER, Variant(workload, BATCH, None, workers), pictures) as ours:
        for setup in dict.fromkeys(best.values()):
            with loaded(TORCHSERVE, Variant(workload, *setup, workers), pictures) as theirs:
                for turn in range(args.rounds):
                    for number in (number for number in best if best[number] == setup):
                        order = (theirs, ours) if turn % 2 == 0 else (ours, theirs)
                        rates = {id(one): rate(one, number, args.seconds) for one in order}
                        pairs[number].append((rates[id(theirs)], rates[id(ours)]))
    return pairs


def row(
    workload: str, number: int, setup: tuple[int, int | None], pairs: list[tuple[float, float]]
) -> tuple[str, ...]:
    """The cells of the table for one load."""
    found = interval([ours / theirs for theirs, ours in pairs])
    medians = [tables.number(statistics.median(one)) for one in zip(*pairs, strict=True)]
    batch, delay = setup
    told = f"batch {batch}" if delay is None else f"batch {batch}, {delay} ms"
    least = REACH_AT.get((workload, number), REACH[workload])
    return (workload, str(number), told, *medians, *_told(found, least))


def _told(found: Interval, least: float) -> tuple[str, ...]:
    verdict = "short" if found.high < least else "pass"
    return f"{found.mean:.2f}", f"{found.low:.2f} to {found.high:.2f}", f"≥ {least:g}", verdict


def measured(workload: str, args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The rows of a workload."""
    pictures = inputs.pictures()
    connections = [int(text) for text in args.connections.split(",")]
    best = pilot(workload, connections, args.pilot, pictures)
    pairs = turns(workload, best, args, pictures)
    rows = [row(workload, number, best[number], pairs[number]) for number in connections]
    if (least := REACH_MEAN.get(workload)) is not None:
        by_turn = [
            statistics.geometric_mean(ours / theirs for theirs, ours in turn)
            for turn in zip(*pairs.values(), strict=True)
        ]
        rows.append((workload, "geometric mean", "", "", "", *_told(interval(by_turn), least)))
    for cells in rows:
        print(" | ".join(cells), flush=True)
    return rows


def main(argv: list[str]) -> int:
    """Measures, prints, saves; 1 with one line when something is missing or wrong."""
    args = arguments(argv)
    if shutil.which("wrk") is None or not TORCHSERVE.command.exists():
        print("bench: missing: wrk, or .venv-bench (bench/run.py --setup-only makes it)", file=sys.stderr)
        return 1
    try:
        rows = [cells for workload in args.only.split(",") for cells in measured(workload, args)]
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    parts = (
        f"# Untuned against TorchServe's best, {date}\n",
        f"`{shlex.join(['bench/untuned.py', *argv])}`: answers per second. What is measured and how: "
        "docs/benchmarks.md.\n",
        tables.markdown(HEAD, rows),
        "## Machine and versions\n",
        tables.markdown(
            ("what", "value"), [*machine(), *versions({"torchkeeper": OURS, "TorchServe": THEIRS})]
        ),
    )
    file = RESULTS / f"{date}-{args.name}.md"
    file.write_text("\n".join(parts))
    print(f"saved {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
