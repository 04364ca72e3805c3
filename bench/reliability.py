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
from servebench.scorecard import Figures, Row, words
from servebench.servers import TORCHKEEPER, TORCHSERVE, Kind
from servebench.trials.table import ROWS

HEAD = ("", "what is done", "torchkeeper", "TorchServe 0.12", "aim", "torchkeeper's")


def measured(row: Row, kind: Kind) -> tuple[Figures, str]:
    """What the trial gave, and in words; a trial that could not be made says why."""
    try:
        figures = row.trial(kind)
    except (BenchError, OSError, ValueError, LookupError) as error:
        return {}, (str(error) or repr(error)).splitlines()[0]
    return figures, words(figures)


def cells(row: Row, skipped: bool) -> tuple[str, ...]:
    """A row of the table: what the trial gave on both servers, and whether that was what was aimed at."""
    figures, ours = measured(row, TORCHKEEPER)
    theirs = row.not_theirs or "–" if skipped or row.not_theirs else measured(row, TORCHSERVE)[1]
    aims = "; ".join(str(goal) for goal in row.goals)
    return row.number, row.what, ours, theirs, aims, row.verdict(figures)


def main(argv: list[str]) -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/reliability.py", description=__doc__)
    parser.add_argument("--skip-torchserve", action="store_true", help="torchkeeper alone (no Java needed)")
    parser.add_argument("--only", help="rows by their numbers, comma separated (R9,R10); they are not saved")
    parser.add_argument(
        "--torch-index", default=os.environ.get("TORCH_INDEX"), help="where pip takes torch from"
    )
    args = parser.parse_args(argv)
    console, rows = Console(width=160), []
    wanted = set(args.only.split(",")) if args.only else None
    try:
        if not args.skip_torchserve:
            environment.ensure(args.torch_index)
        for row in ROWS:
            if wanted is None or wanted & set(row.number.split(", ")):
                rows.append(cells(row, args.skip_torchserve))
                console.print(" | ".join(rows[-1]))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if wanted is None:
        save(rows, argv, args.skip_torchserve)
    return 0


def save(rows: list[tuple[str, ...]], argv: list[str], skipped: bool) -> None:
    """Writes the page."""
    environments = {"torchkeeper": OURS} | ({} if skipped else {"TorchServe": THEIRS})
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
