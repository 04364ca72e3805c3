"""What torchkeeper and TorchServe 0.12 lose when something goes wrong, side by side.

Each row does the same to both servers, one after the other, each on a server of its own. Saves the table as
bench/results/reliability.md. Needs what `make bench` needs (Java 17), but not wrk.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys

from rich.console import Console

from servebench import environment, tables
from servebench.errors import BenchError
from servebench.machine import machine, versions
from servebench.paths import OURS, RESULTS, THEIRS
from servebench.servers import TORCHKEEPER, TORCHSERVE, Kind
from servebench.trials import TRIALS

HEAD = ("what is done", "torchkeeper", "TorchServe 0.12", "target")


def words(figures: dict[str, float]) -> str:
    """`0 lost per kill, 0.12 seconds to full capacity`."""
    return ", ".join(f"{value:.3g} {name}" for name, value in figures.items())


def cell(kind: Kind, trial: int, skipped: bool) -> str:
    """What a trial of one server gave."""
    return "–" if skipped else words(TRIALS[trial][1](kind))


def main(argv: list[str]) -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/reliability.py", description=__doc__)
    parser.add_argument("--skip-torchserve", action="store_true", help="torchkeeper alone (no Java needed)")
    parser.add_argument(
        "--torch-index", default=os.environ.get("TORCH_INDEX"), help="where pip takes torch from"
    )
    args = parser.parse_args(argv)
    console, rows = Console(width=160), []
    try:
        if not args.skip_torchserve:
            environment.ensure(args.torch_index)
        for number, (name, _, target) in enumerate(TRIALS):
            ours, theirs = cell(TORCHKEEPER, number, False), cell(TORCHSERVE, number, args.skip_torchserve)
            rows.append((name, ours, theirs, target))
            console.print(f"{name}: {ours} | {theirs}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    environments = {"torchkeeper": OURS} | ({} if args.skip_torchserve else {"TorchServe": THEIRS})
    text = "\n".join(
        (
            f"# What is lost when something goes wrong, {datetime.date.today().isoformat()}\n",
            f"`{shlex.join(['bench/reliability.py', *argv])}`. Clients share the server's cores.\n",
            tables.markdown(HEAD, rows),
            "## Machine and versions\n",
            tables.markdown(("what", "value"), [*machine(), *versions(environments)]),
        )
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "reliability.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
