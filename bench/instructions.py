"""Counts the instructions that the front runs for one request, this checkout's beside an earlier one's.

    git worktree add ../before COMMIT && make -C ../before .venv/.installed
    .venv/bin/python bench/instructions.py ../before

Where time is too noisy to tell a few percent, this is not: the counts of two runs differ by one percent or
two. The front runs under valgrind, which is some fifty times slower; its workers do not. What happens so
often in a second (lines of ts_metrics.log, writings of the log thread) weighs more there than it does in
life, so the event loop's thread and the others are counted apart, and all is counted with logs and metrics
off, too. A short load is taken from a long one: what a new connection costs is none of it. Beside it,
uvicorn with an application that only echoes. Saves the table as bench/results/<date>-instructions.md.
Needs wrk and valgrind.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from servebench import bare, inputs, servers, tables
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.load import Target
from servebench.machine import machine, versions
from servebench.paths import CACHE, OURS, RESULTS
from servebench.plan import BATCH
from servebench.servers import TORCHKEEPER, Question, serving
from torchkeeper import TS_NAMESPACE

MODEL = "bench"
STORE = CACHE / "store"
HEAD = ("server", "batch", "event loop", "of uvicorn's", "other threads", "with them")
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
VALGRIND = (
    *("valgrind", "--tool=callgrind", "--separate-threads=yes", "--instr-atstart=no"),
    *("--vgdb-prefix={folder}/vgdb", "--callgrind-out-file={folder}/counts"),
)


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


def _counted(folder: Path, pid: int, target: Target, connections: int, seconds: float) -> Count:
    """Loads a process that valgrind runs: what a long load takes beyond a short one, per request."""
    target.measure(connections, seconds)
    _control(folder, pid, "instrumentation on")
    target.measure(connections, seconds)
    requests, loop, others = 0.0, 0, 0
    for number, sign, times in ((1, -1, 1), (2, 1, 4)):
        _control(folder, pid, "zero")
        cell = target.measure(connections, times * seconds)
        _control(folder, pid, "dump")
        if cell.errors:
            raise BenchError(f"{cell.errors} requests failed")
        requests += sign * cell.rate * times * seconds
        for file in folder.glob(f"counts.{number}-*"):
            if found := _TOTAL.search(file.read_text(errors="replace")):
                if file.name.endswith("-01"):
                    loop += sign * int(found[1])
                else:
                    others += sign * int(found[1])
    return Count(loop / requests, others / requests)


def count(venv: Path, batch: int | None, connections: int, seconds: float, *, quiet: bool) -> Count:
    """The server of an environment with the echo archive; `quiet`: logs off."""
    archive = inputs.build_archive(Variant("echo", batch), TORCHKEEPER.archiver, STORE)
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        command = folder / "bin" / "torchserve"
        command.parent.mkdir()
        # With its mark it does not begin anew, which would leave valgrind.
        parts = [*VALGRIND, venv / "bin" / "python", "-X", TS_NAMESPACE, venv / "bin" / "torchserve"]
        line = " ".join(str(part).format(folder=folder) for part in parts)
        command.write_text(f'#!/bin/sh\nexport PYTHONHASHSEED=0\nexec {line} "$@"\n')
        command.chmod(0o755)
        kind = replace(TORCHKEEPER, name=str(venv), venv=folder)
        target, ask = _target(0)
        with serving(kind, STORE, {MODEL: archive.name}, False, ask, quiet=quiet) as server:
            target = replace(target, port=server.port)
            return _counted(folder, server.pid, target, connections, seconds)


def count_bare(connections: int, seconds: float) -> Count:
    """uvicorn."""
    bare.prepare()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        with bare.running([part.format(folder=name) for part in VALGRIND]) as (port, pid):
            return _counted(Path(name), pid, _target(port)[0], connections, seconds)


def _target(port: int) -> tuple[Target, Question]:
    """Where the load goes, and a request whose answer is known."""
    pictures = inputs.pictures()
    first = (pictures / "0000.png").read_bytes()
    return Target(port, MODEL, pictures, CACHE), Question(f"/predictions/{MODEL}", first, first)


def rows(before: Path | None, connections: int, seconds: float) -> Iterator[tuple[str, ...]]:
    """One row per server and set-up."""
    least = count_bare(connections, seconds)
    yield bare.NAME, "-", tables.number(least.loop), "1.00", "-", "1.00"
    venvs = [] if before is None else [("before", before.resolve() / ".venv")]
    for name, venv in (*venvs, ("torchkeeper", OURS)):
        for batch in (1, BATCH):
            for quiet in (True, False):
                one = count(venv, None if batch == 1 else batch, connections, seconds, quiet=quiet)
                ratios = [one.loop / least.loop, (one.loop + one.others) / least.loop]
                others = "-" if quiet else tables.number(one.others)
                yield (
                    f"{name}, {'logs off' if quiet else 'defaults'}",
                    str(batch),
                    tables.number(one.loop),
                    f"{ratios[0]:.2f}",
                    others,
                    f"{ratios[1]:.2f}",
                )


def main(argv: list[str]) -> int:
    """Counts, prints and saves; 1 with one line when something is missing."""
    parser = argparse.ArgumentParser(prog="bench/instructions.py", description=__doc__)
    parser.add_argument("before", type=Path, nargs="?", help="folder of an earlier checkout, with its .venv")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--seconds", type=float, default=5, help="of the short load; the long one has four times as many"
    )
    args = parser.parse_args(argv)
    if missing := [tool for tool in ("wrk", "valgrind", "vgdb") if shutil.which(tool) is None]:
        print(f"bench: missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    servers.START_LIMIT = 600.0
    try:
        table = tables.markdown(HEAD, list(rows(args.before, args.connections, args.seconds)))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    command = f"bench/instructions.py --connections {args.connections} --seconds {args.seconds:g}"
    environment = [*machine(), *versions({"torchkeeper": OURS}), ("uvicorn", ", ".join(bare.PACKAGES))]
    text = "\n".join(
        (
            f"# Instructions of user space per request, {date}\n",
            f"`{command}`, {args.connections} connections, bodies of 272 "
            "bytes. What is counted and how: docs/performance.md.\n",
            table,
            "## Machine and versions\n",
            tables.markdown(("what", "value"), environment),
        )
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{date}-instructions.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
