"""Measures this checkout beside an earlier one: what a change costs or gains, as ratios of one run.

    git worktree add ../before COMMIT && make -C ../before .venv/.installed
    .venv/bin/python bench/beside.py ../before

Both servers run at once and are loaded in turns, a few seconds each, in changing order: what the machine does
meanwhile meets both. Each figure is the median of the ratios of neighbouring turns. Needs wrk.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from servebench import inputs, tables
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.load import Cell, Target
from servebench.machine import machine, versions
from servebench.paths import CACHE, OURS, RESULTS
from servebench.plan import BATCH, CONNECTIONS, WORKERS
from servebench.servers import TORCHKEEPER, Kind, Question, Running, serving

MODEL = "bench"
STORE = CACHE / "store"
HEAD = ("workload", "batch", "figure (at connections)", "before", "after", "after ÷ before", "rounds")


@dataclass
class Pair:
    """What was measured of one figure, before and after in turns."""

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of after ÷ before of each round."""
        return statistics.median(new / old for old, new in zip(self.before, self.after, strict=True))

    def row(self, unit: str) -> tuple[str, ...]:
        """The cells of a table behind the figure's name."""
        medians = (statistics.median(values) for values in (self.before, self.after))
        ratios = sorted(new / old for old, new in zip(self.before, self.after, strict=True))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        return (*(f"{tables.number(value)} {unit}" for value in medians), f"{self.ratio:.3f}", spread)


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/beside.py", description=__doc__)
    parser.add_argument("before", type=Path, help="folder of the earlier checkout, with its .venv")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each server per figure")
    parser.add_argument("--seconds", type=float, default=3, help="seconds of a turn")
    parser.add_argument("--only", default="echo,mnist", help="workloads, comma separated")
    parser.add_argument("--name", default="beside", help="name of the result file")
    return parser.parse_args(argv)


def measure(variant: Variant, kinds: tuple[Kind, Kind], rounds: int, seconds: float) -> dict[str, Pair]:
    """All figures of one archive on both servers."""
    pictures = inputs.pictures()
    archive = inputs.build_archive(variant, TORCHKEEPER.archiver, STORE)
    answers = inputs.answers(variant.workload, pictures, archive, OURS / "bin" / "python")
    first = bytes.fromhex(answers.read_text().splitlines()[0])
    ask = Question(f"/predictions/{MODEL}", (pictures / "0000.png").read_bytes(), first)
    found: dict[str, Pair] = {}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(kind, STORE, {MODEL: archive.name}, False, ask)) for kind in kinds
        ]
        targets = [Target(server.port, MODEL, pictures, answers) for server in servers]
        for target in targets:
            if (checked := target.warm_up(16, 3)).wrong or checked.refused:
                raise BenchError(
                    f"{variant.name}: {checked.wrong} wrong and {checked.refused} refused answers"
                )
        for connections in CONNECTIONS:
            for number in range(rounds):
                cells = _turn(targets, connections, seconds, backwards=number % 2 == 1)
                _note(found, f"rate at {connections} requests/s", *(cell.rate for cell in cells))
                _note(found, f"p50 at {connections} ms", *(cell.p50 for cell in cells))
        _note(found, "memory MB", *(server.memory() for server in servers))
    for number in range(rounds):
        _note(found, "start s", *_starts(kinds, archive, ask, backwards=number % 2 == 1))
    return found


def _turn(targets: list[Target], connections: int, seconds: float, *, backwards: bool) -> tuple[Cell, Cell]:
    order = targets[::-1] if backwards else targets
    cells = [target.measure(connections, seconds) for target in order]
    if errors := sum(cell.errors for cell in cells):
        raise BenchError(f"{errors} requests failed")
    return tuple(cells[::-1] if backwards else cells)  # type: ignore[return-value]  # two targets


def _starts(kinds: tuple[Kind, Kind], archive: Path, ask: Question, *, backwards: bool) -> list[float]:
    def start(kind: Kind) -> float:
        with serving(kind, STORE, {MODEL: archive.name}, False, ask) as server:
            running: Running = server
            return running.seconds_to_answer

    times = [start(kind) for kind in (kinds[::-1] if backwards else kinds)]
    return times[::-1] if backwards else times


def _note(found: dict[str, Pair], figure: str, before: float, after: float) -> None:
    if not math.isnan(before) and not math.isnan(after):
        pair = found.setdefault(figure, Pair())
        pair.before.append(before)
        pair.after.append(after)


def main(argv: list[str]) -> int:
    """Checks, measures, prints, saves; 1 with one line when something is missing."""
    args = arguments(argv)
    before = replace(TORCHKEEPER, name="before", venv=args.before.resolve() / ".venv")
    if not before.command.exists() or shutil.which("wrk") is None:
        print(f"bench: missing: {before.command if shutil.which('wrk') else 'wrk'}", file=sys.stderr)
        return 1
    rows: list[tuple[str, ...]] = []
    try:
        for workload in args.only.split(","):
            for batch in (None, BATCH):
                variant = Variant(workload, batch, None, WORKERS.get(workload))
                for figure, pair in measure(
                    variant, (before, TORCHKEEPER), args.rounds, args.seconds
                ).items():
                    name, _, unit = figure.rpartition(" ")
                    rows.append((workload, str(batch or 1), name, *pair.row(unit)))
                    print(" | ".join(rows[-1]), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    file = RESULTS / f"{date}-{args.name}.md"
    file.write_text(_report(argv, args.before, date, rows))
    print(f"saved {file}")
    return 0


def _report(argv: list[str], before: Path, date: str, rows: list[tuple[str, ...]]) -> str:
    commits = [
        subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True
        ).stdout
        for folder in (before, OURS.parent)
    ]
    parts = (
        f"# Before and after, {date}\n",
        f"`{shlex.join(['bench/beside.py', '../before', *argv[1:]])}`, commit {commits[0].strip()} beside "
        f"{commits[1].strip()}. What is measured and how: docs/benchmarks.md.\n",
        tables.markdown(HEAD, rows),
        "## Machine and versions\n",
        tables.markdown(("what", "value"), [*machine(), *versions({"torchkeeper": OURS})]),
    )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
