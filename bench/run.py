"""Measures TorchServe 0.12 and torchkeeper side by side on the same archive files, and saves the table.

`make bench` runs this with no flag: it sets up TorchServe in `.venv-bench` on the first run, then takes about
twenty minutes. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from servebench import environment, inputs, tables
from servebench.errors import BenchError
from servebench.limit import in_process_limit
from servebench.load import Target
from servebench.machine import machine, versions
from servebench.paths import CACHE, OURS, RESULTS, THEIRS
from servebench.plan import BATCH, CONNECTIONS, WORKLOADS, Case, cases, in_round
from servebench.servers import TORCHKEEPER, TORCHSERVE, Question, drain, serving

MODEL = "bench"
STORE = CACHE / "store"
#: Connections of the warm-up, each with a wrk thread of its own.
WARM_UP_CONNECTIONS = 16
ENVIRONMENTS = {"torchkeeper": OURS, "TorchServe": THEIRS}
KINDS = {kind.name: kind for kind in (TORCHSERVE, TORCHKEEPER)}


@dataclass(frozen=True)
class Times:
    """Seconds: the checked warm-up after a start, the warm-up before each cell, the cell, the limit."""

    checked: float = 3
    warm_up: float = 1
    measure: float = 4


QUICK = Times(checked=2, warm_up=1, measure=2)


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: a check, not a measurement")
    parser.add_argument("--rounds", type=int, default=None, help="rounds whose median counts (default 3)")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, comma separated")
    parser.add_argument("--skip-torchserve", action="store_true", help="measure torchkeeper alone")
    parser.add_argument("--skip-torchkeeper", action="store_true", help="measure TorchServe alone")
    parser.add_argument("--name", default=None, help="name of the result file (default: full, quick or part)")
    parser.add_argument("--setup-only", action="store_true", help="make .venv-bench and stop")
    parser.add_argument(
        "--torch-index", default=os.environ.get("TORCH_INDEX"), help="where pip takes torch from"
    )
    args = parser.parse_args(argv)
    args.only = tuple(word.strip() for word in args.only.split(",") if word.strip())
    if unknown := set(args.only) - set(WORKLOADS):
        parser.error(f"--only knows {', '.join(WORKLOADS)}, not {', '.join(sorted(unknown))}")
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def measure(case: Case, archive: Path, pictures: Path, answers: Path, times: Times) -> tables.Sample:
    """One server run: start, checked warm-up, every number of connections, memory, stop."""
    first = bytes.fromhex(answers.read_text().splitlines()[0])
    ask = Question(f"/predictions/{MODEL}", (pictures / "0000.png").read_bytes(), first)
    with serving(KINDS[case.server], STORE, {MODEL: archive.name}, case.tuned, ask) as server:
        target = Target(server.port, MODEL, pictures, answers)
        checked = target.warm_up(WARM_UP_CONNECTIONS, times.checked)
        cells = {}
        for connections in CONNECTIONS:
            target.measure(connections, times.warm_up)
            drain(server.port, ask)
            cells[connections] = target.measure(connections, times.measure)
        memory = server.memory()
        start = server.seconds_to_answer
    return tables.Sample(case, start, memory, cells, checked.right, checked.wrong + checked.refused)


def run(args: argparse.Namespace, console: Console) -> tables.Results:
    """All rounds."""
    times = QUICK if args.quick else Times()
    rounds = args.rounds or (1 if args.quick else 3)
    skipped = {TORCHSERVE.name: args.skip_torchserve, TORCHKEEPER.name: args.skip_torchkeeper}
    rows = cases(args.only, tuple(name for name, skip in skipped.items() if not skip))
    pictures = inputs.pictures()
    maker = TORCHKEEPER if args.skip_torchserve else TORCHSERVE
    variants = {case.variant for case in rows}
    archives = {variant: inputs.build_archive(variant, maker.archiver, STORE) for variant in variants}
    python = (THEIRS if args.skip_torchkeeper else OURS) / "bin" / "python"
    by_workload = {variant.workload: file for variant, file in archives.items()}
    answers = {word: inputs.answers(word, pictures, file, python) for word, file in by_workload.items()}
    results = tables.Results()
    for number in range(rounds):
        where = f"round {number + 1} of {rounds}"
        for case in in_round(rows, number):
            right = answers[case.variant.workload]
            sample = measure(case, archives[case.variant], pictures, right, times)
            results.samples.append(sample)
            rates = " / ".join(tables.number(cell.rate) for cell in sample.cells.values())
            console.print(f"{where}  {case.label}: {rates} requests/s")
        if "mnist" in args.only:
            limit = in_process_limit(by_workload["mnist"], pictures, BATCH, times.measure, python)
            results.limits.append(limit)
            console.print(f"{where}  mnist · in process: {limit:,.0f} images/s")
    return results


def show(console: Console, title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints one table."""
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        style = {"short": "bold red", "pass": "green"}.get(row[-1])
        table.add_row(*row, style=style)
    console.print(table)


def report(args: argparse.Namespace, results: tables.Results, minutes: float) -> str:
    """The Markdown that is saved: figures with a goal, all figures, all rounds, machine and versions."""
    command = shlex.join(["bench/run.py", *args.command])
    rounds = len({id(sample) for sample in results.samples if sample.case == results.samples[0].case})
    parts = [
        f"# Benchmark of {args.date}\n",
        f"`{command}`, {rounds} round{'s' if rounds > 1 else ''}, {minutes:.0f} minutes. "
        "What is measured and how: docs/benchmarks.md.\n",
        "## Figures with a goal\n",
        tables.markdown(tables.REACH_HEAD, tables.reach_rows(tables.reaches(results))),
        "## All figures (medians)\n",
        tables.markdown(tables.FIGURE_HEAD, tables.figure_rows(results, args.only)),
        _limit_line(results),
        "## Every round\n",
        tables.markdown(tables.SPREAD_HEAD, tables.spread_rows(results)),
        "## Machine and versions\n",
        tables.markdown(("what", "value"), [*machine(), *versions(ENVIRONMENTS)]),
    ]
    return "\n".join(part for part in parts if part)


def _limit_line(results: tables.Results) -> str:
    if not results.limits:
        return ""
    each = ", ".join(f"{limit:,.0f}" for limit in results.limits)
    return f"In-process limit of mnist: {statistics.median(results.limits):,.0f} images/s (rounds: {each}).\n"


def main(argv: list[str]) -> int:
    """Checks, sets up, measures, prints, saves; 1 with one line when something is missing."""
    args = arguments(argv)
    args.command = argv
    args.date = datetime.date.today().isoformat()
    # Piped into a file, rich would fold the tables to 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    if missing := environment.missing_programs(not args.skip_torchserve):
        print(f"bench: missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    try:
        if not args.skip_torchserve:
            with console.status("setting up .venv-bench (real TorchServe 0.12; minutes on the first run)"):
                environment.ensure(args.torch_index)
        if args.setup_only:
            return 0
        begin = time.monotonic()
        results = run(args, console)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was saved", file=sys.stderr)
        return 130
    if reach := tables.reach_rows(tables.reaches(results)):
        show(console, "Figures with a goal", tables.REACH_HEAD, reach)
    show(console, "All figures (medians)", tables.FIGURE_HEAD, tables.figure_rows(results, args.only))
    name = args.name or ("quick" if args.quick else "full" if args.only == WORKLOADS else "part")
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{args.date}-{name}.md"
    file.write_text(report(args, results, (time.monotonic() - begin) / 60))
    console.print(f"saved {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
