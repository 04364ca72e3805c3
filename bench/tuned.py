"""A tuned archive over HTTP beside what the eager model reaches in process, without any server.

    .venv/bin/torchkeeper tune mnist.mar --sample ... --write && .venv/bin/python bench/tuned.py mnist.mar

The archive is the MNIST example's. In turns: 64 connections ask the server, and one process for each core
runs decode and the eager float32 model in batches of 16. Also tells how many of the 10,000 test pictures
are answered with the eager model's digit. Needs wrk.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import shutil
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from servebench import inputs, tables
from servebench.asking import ask
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.intervals import interval
from servebench.limit import in_process_limit
from servebench.load import Target
from servebench.machine import machine, versions
from servebench.paths import CACHE, OURS, RESULTS
from servebench.plan import BATCH
from servebench.servers import TORCHKEEPER, Question, serving

STORE = CACHE / "store"
MODEL = "bench"
CONNECTIONS = 64
#: Pictures whose digits are compared, and how many are asked for at once.
TEST_SET, AT_ONCE = 10_000, 16
#: Least ratio, and least part of the pictures with the same digit.
REACH, SAME = 1.6, 0.999
HEAD = ("tuned, requests/s", "eager in process, pictures/s", "ratio", "95 % interval", "reach", "")


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/tuned.py", description=__doc__)
    parser.add_argument("archive", type=Path, help="as `torchkeeper tune --write` left it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="seconds of a turn")
    parser.add_argument("--name", default="tuned", help="name of the result file")
    return parser.parse_args(argv)


def same_digits(port: int, eager: Path, python: Path) -> float:
    """The part of the test set that the server answers with the eager model's digit."""
    pictures = inputs.pictures(CACHE / "test-set", TEST_SET)
    bodies = [path.read_bytes() for path in sorted(pictures.glob("*.png"))]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        served = list(threads.map(lambda body: ask(port, body, path=f"/predictions/{MODEL}"), bodies))
    refused = [answer for answer in served if answer.status != 200]
    if refused:
        raise BenchError(f"{len(refused)} pictures were refused, the first with {refused[0].status}")
    digits = inputs.digits(eager, pictures, python)
    return statistics.fmean(
        answer.body.encode() == digit for answer, digit in zip(served, digits, strict=True)
    )


def measured(args: argparse.Namespace) -> tuple[list[tuple[float, float]], float]:
    """Requests and pictures per second, in pairs; and the part of the pictures with the same digit."""
    pictures, python = inputs.pictures(), OURS / "bin" / "python"
    eager = inputs.build_archive(Variant("mnist"), TORCHKEEPER.archiver, STORE)
    answers = inputs.answers("mnist", pictures, eager, python)
    tuned = STORE / "tuned.mar"
    shutil.copyfile(args.archive, tuned)
    first = bytes.fromhex(answers.read_text().splitlines()[0])
    question = Question(f"/predictions/{MODEL}", (pictures / "0000.png").read_bytes(), first)
    pairs = []
    with serving(TORCHKEEPER, STORE, {MODEL: tuned.name}, False, question, quiet=True) as server:
        target = Target(server.port, MODEL, pictures, answers)
        target.warm_up(16, 5)
        same = same_digits(server.port, eager, python)
        for turn in range(args.rounds):
            found = {}
            for served in (True, False) if turn % 2 == 0 else (False, True):
                if served:
                    cell = target.measure(CONNECTIONS, args.seconds)
                    if cell.errors:
                        raise BenchError(f"{cell.errors} requests failed")
                    found[served] = cell.rate
                else:
                    found[served] = in_process_limit(eager, pictures, BATCH, args.seconds, python)
            pairs.append((found[True], found[False]))
            print(f"{found[True]:.0f} requests/s, {found[False]:.0f} pictures/s", file=sys.stderr)
    return pairs, same


def main(argv: list[str]) -> int:
    """Measures, prints, saves; 1 with one line when something is missing or wrong."""
    args = arguments(argv)
    if shutil.which("wrk") is None or not args.archive.exists():
        print("bench: missing: wrk, or the archive", file=sys.stderr)
        return 1
    try:
        pairs, same = measured(args)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    found = interval([ours / theirs for ours, theirs in pairs])
    row = (
        *(tables.number(statistics.median(one)) for one in zip(*pairs, strict=True)),
        f"{found.mean:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        f"≥ {REACH:g}",
        "short" if found.high < REACH else "pass",
    )
    date = datetime.date.today().isoformat()
    command = shlex.join(["bench/tuned.py", args.archive.name, *argv[1:]])
    parts = (
        f"# MNIST as `torchkeeper tune` set it, {date}\n",
        f"`{command}`: {CONNECTIONS} connections. Of the test set's {TEST_SET:,} pictures {same:.2%} were "
        f"answered with the eager model's digit (reach {SAME:.1%}).\n",
        tables.markdown(HEAD, [row]),
        "## Machine and versions\n",
        tables.markdown(("what", "value"), [*machine(), *versions({"torchkeeper": OURS})]),
    )
    text = "\n".join(parts)
    print(text)
    (RESULTS / f"{date}-{args.name}.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
