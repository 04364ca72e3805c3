"""Counts the instructions that the front runs for one request, this checkout's beside an earlier one's.

    git worktree add ../before COMMIT && make -C ../before .venv/.installed
    .venv/bin/python bench/instructions.py ../before

Where time is too noisy to tell a few percent, this is not: the counts of two runs differ by one percent or
two. The front runs under valgrind, which is some fifty times slower; its workers do not. What happens so
often in a second (lines of ts_metrics.log, writings of the log thread) weighs more there than it does in
life, so the event loop's thread and the others are counted apart. Needs wrk and valgrind.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from servebench import inputs, servers, tables
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.load import Target
from servebench.paths import CACHE, OURS
from servebench.plan import BATCH
from servebench.servers import TORCHKEEPER, Question, serving
from torchkeeper import TS_NAMESPACE

MODEL = "bench"
STORE = CACHE / "store"
HEAD = ("batch", "thread", "before", "after", "after ÷ before")
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_COMMAND = """#!/bin/sh
export PYTHONHASHSEED=0
exec valgrind --tool=callgrind --separate-threads=yes --instr-atstart=no --vgdb-prefix={folder}/vgdb \\
    --callgrind-out-file={folder}/counts {python} -X {mark} {command} "$@"
"""


@dataclass(frozen=True)
class Count:
    """Instructions per request: of the thread that has the event loop, and of the others."""

    loop: float
    others: float


def _control(folder: Path, pid: int, order: str) -> None:
    done = subprocess.run(
        ["vgdb", f"--vgdb-prefix={folder}/vgdb", f"--pid={pid}", *order.split()],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchError(f"valgrind did not {order}: {done.stderr.strip()[-200:]}")


def count(venv: Path, variant: Variant, connections: int, seconds: float) -> Count:
    """Runs the server of an environment under valgrind and loads it."""
    pictures = inputs.pictures()
    archive = inputs.build_archive(variant, TORCHKEEPER.archiver, STORE)
    answers = inputs.answers(variant.workload, pictures, archive, OURS / "bin" / "python")
    first = bytes.fromhex(answers.read_text().splitlines()[0])
    ask = Question(f"/predictions/{MODEL}", (pictures / "0000.png").read_bytes(), first)
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        command = folder / "bin" / "torchserve"
        command.parent.mkdir()
        real = {"python": venv / "bin" / "python", "command": venv / "bin" / "torchserve"}
        # With its mark it does not begin anew, which would leave valgrind.
        command.write_text(_COMMAND.format(folder=folder, mark=TS_NAMESPACE, **real))
        command.chmod(0o755)
        kind = replace(TORCHKEEPER, name=str(venv), venv=folder)
        with serving(kind, STORE, {MODEL: archive.name}, False, ask) as server:
            target = Target(server.port, MODEL, pictures, answers)
            target.measure(connections, seconds)
            _control(folder, server.pid, "instrumentation on")
            target.measure(connections, seconds)
            _control(folder, server.pid, "zero")
            cell = target.measure(connections, 3 * seconds)
            _control(folder, server.pid, "dump")
        if cell.errors:
            raise BenchError(f"{cell.errors} requests failed")
        totals = {
            file.name: int(found[1])
            for file in folder.glob("counts.1-*")
            if (found := _TOTAL.search(file.read_text(errors="replace")))
        }
    requests = cell.rate * 3 * seconds
    loop = totals.pop("counts.1-01")
    return Count(loop / requests, sum(totals.values()) / requests)


def main(argv: list[str]) -> int:
    """Counts and prints; 1 with one line when something is missing."""
    parser = argparse.ArgumentParser(prog="bench/instructions.py", description=__doc__)
    parser.add_argument("before", type=Path, help="folder of the earlier checkout, with its .venv")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--seconds", type=float, default=5, help="of the warm-ups; it is counted for three times as long"
    )
    args = parser.parse_args(argv)
    if missing := [tool for tool in ("wrk", "valgrind", "vgdb") if shutil.which(tool) is None]:
        print(f"bench: missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    servers.START_LIMIT = 600.0
    rows: list[tuple[str, ...]] = []
    try:
        for batch in (None, BATCH):
            before, after = (
                count(venv, Variant("echo", batch), args.connections, args.seconds)
                for venv in (args.before.resolve() / ".venv", OURS)
            )
            for thread, old, new in (
                ("event loop", before.loop, after.loop),
                ("logs and others", before.others, after.others),
            ):
                figures = (tables.number(old), tables.number(new), f"{new / old:.3f}")
                rows.append((str(batch or 1), thread, *figures))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(tables.markdown(HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
