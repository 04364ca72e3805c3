"""Whether `torchkeeper tune` finds the best set-up: its choice for MNIST against a grid, on the real server.

    python bench/tune.py [--time 10m] [--rounds 5] [--keep tuned.mar]

Tunes the MNIST example with 500 pictures of the test set. Then measures a grid of at most 48 set-ups
(variants, batch sizes, policies, divisions of the cores) once, at 64 connections, and the grid's three best
and tune's choice in interleaved rounds. Saves a table under bench/results; exits with 1 where the choice is
more than 5 %, and more than the spread of its own rounds, below the best.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import itertools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from servebench import tables
from servebench.machine import machine, versions
from servebench.paths import OURS, RESULTS
from torchkeeper.machine.hardware import cpu_count
from torchkeeper.tune.budget import Budget
from torchkeeper.tune.candidates import DEFAULT_POLICY, Candidate, splits
from torchkeeper.tune.choosing import FULL, Standing, standings
from torchkeeper.tune.repacking import open_tuned
from torchkeeper.tune.results import FILE, TuneResults
from torchkeeper.tune.samples import read_samples, warmup_files
from torchkeeper.tune.trial_server import TrialServer
from torchkeeper.tune.trials import Out, Trialled, Trials
from torchkeeper.wire.agreement import Check
from torchkeeper.wire.execution import Execution

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "image_classifier" / "mnist"
IMAGES = ROOT / "tests" / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
PICTURES = 500
#: The grid's variants, and those that compile for half a minute: these with a worker for each core only.
VARIANTS = (
    Execution(),
    Execution(memory_format="channels_last"),
    Execution(dtype="bfloat16"),
    Execution(memory_format="channels_last", dtype="bfloat16"),
)
COMPILED = (Execution(aot=True), Execution(aot=True, dtype="bfloat16"))
#: Batch sizes and the milliseconds for which `delay` waits; without them the default policy.
BATCHES = ((1, None), (16, None), (64, None), (16, 5), (64, 5))
ALLOWED = 0.05
#: As good as no end: the grid takes as long as it takes.
ENDLESS = Budget(24 * 3600.0)


def grid() -> list[Candidate]:
    """Its set-ups: 44."""
    divisions = (splits(cpu_count())[0], splits(cpu_count())[-1])
    plain = itertools.product(VARIANTS, divisions, BATCHES)
    compiled = itertools.product(COMPILED, divisions[-1:], BATCHES[1:3])
    return [
        Candidate(
            execution=msgspec.structs.replace(variant, threads=threads),
            workers=workers,
            batch_size=rows,
            policy=DEFAULT_POLICY if delay is None else "delay",
            delay=delay,
        )
        for variant, (workers, threads), (rows, delay) in (*plain, *compiled)
    ]


def prepare(folder: Path) -> None:
    """The archive and the pictures."""
    import numpy as np
    from PIL import Image

    command = [Path(sys.executable).parent / "torch-model-archiver", "--model-name", "mnist"]
    command += ["--version", "1.0", "--export-path", folder, "--model-file", EXAMPLE / "mnist.py"]
    command += ["--serialized-file", EXAMPLE / "mnist_cnn.pt", "--handler", EXAMPLE / "mnist_handler.py"]
    subprocess.run(command, check=True)
    (folder / "pictures").mkdir()
    pixels = np.frombuffer(gzip.decompress(IMAGES.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    for number, one in enumerate(pixels[:PICTURES]):
        target = io.BytesIO()
        Image.fromarray(one).save(target, "png")
        (folder / "pictures" / f"{number:04}.png").write_bytes(target.getvalue())


async def compared(folder: Path, tuned: TuneResults, rounds: int) -> list[Standing]:
    """The grid's best and the choice of tune, after interleaved rounds."""
    assert tuned.winner is not None
    source = open_tuned(folder / "mnist.mar", folder / "unpacked")
    samples = read_samples([str(folder / "pictures")])
    what = Trialled(source, samples, warmup_files(samples), "/predictions/mnist", Check())
    results = TuneResults(tuned.subject)
    server = TrialServer(folder / "server", None, os.environ)
    await server.start()
    try:
        trials = Trials(what, server, results, ENDLESS)
        await trials.learn(Candidate(), 60)
        for number, candidate in enumerate(grid()):
            try:
                found = await trials.measure(candidate, FULL, 0)
                print(f"{number + 1:3} {found.rate:8,.0f} {candidate}", flush=True)
            except Out as out:
                print(f"{number + 1:3}      out {candidate}: {out}", flush=True)
        best = [one.candidate for one in standings(results.measurements, None)[:3]]
        finalists = list(dict.fromkeys((*best, tuned.winner.candidate)))
        for candidate in finalists:
            await trials.place(candidate)
        for round_ in range(1, rounds + 1):
            for candidate in finalists:
                await trials.measure(candidate, FULL, round_)
    finally:
        await server.stop()
    return [one for one in standings(results.measurements, None) if one.rounds]


def main() -> int:
    """Tunes, measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", default="10m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where the tuned archive goes, for bench/tuned.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-tune-") as scratch:
        folder = Path(scratch)
        prepare(folder)
        (folder / "tuned").mkdir()
        written = Path(shutil.copy2(folder / "mnist.mar", folder / "tuned"))
        begin = time.monotonic()
        command = [Path(sys.executable).parent / "torchkeeper", "tune", written, "--write", "--sample"]
        command += [folder / "pictures", "--time", arguments.time, "--output", folder / "out"]
        subprocess.run(command, check=True)
        took = time.monotonic() - begin
        if arguments.keep is not None:
            shutil.copy2(written, arguments.keep)
        tuned = msgspec.json.decode((folder / "out" / FILE).read_bytes(), type=TuneResults)
        found = uvloop.run(compared(folder, tuned, arguments.rounds))
    assert tuned.winner is not None
    chosen = next(one for one in found if one.candidate == tuned.winner.candidate)
    behind = 1 - chosen.rate / found[0].rate
    allowed = max(ALLOWED, chosen.spread, found[0].spread)
    rows = [
        (
            str(one.candidate),
            tables.number(one.rate),
            f"{one.spread:.1%}",
            f"{one.memory / 1e6:.0f} MB",
            "tune's choice" if one is chosen else "",
        )
        for one in found
    ]
    date = datetime.date.today().isoformat()
    command_line = shlex.join(["bench/tune.py", *sys.argv[1:]])
    parts = (
        f"# The choice of `torchkeeper tune` for MNIST, {date}\n",
        f"`{command_line}`: tune took {took:.0f} s. Of a grid of {len(grid())} set-ups the best, and tune's "
        f"choice: it is {behind:.1%} behind the best, of {allowed:.1%} that are allowed.\n",
        tables.markdown(("set-up", "requests/s", "spread", "memory", ""), rows),
        "## Machine and versions\n",
        tables.markdown(("what", "value"), [*machine(), *versions({"torchkeeper": OURS})]),
    )
    text = "\n".join(parts)
    print(text)
    (RESULTS / f"{date}-tune.md").write_text(text)
    return int(behind > allowed)


if __name__ == "__main__":
    sys.exit(main())
