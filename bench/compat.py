"""Checks that archives travel both ways: TorchServe's run in torchkeeper, and torchkeeper's in TorchServe.

Each of the two archivers packs the MNIST example; the other server loads it and must name ten test digits
right. Needs `.venv-bench`, which it makes if it is missing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from servebench import environment
from servebench.errors import BenchError
from servebench.inputs import Variant, build_archive
from servebench.paths import MNIST
from servebench.servers import TORCHKEEPER, TORCHSERVE, Kind, Question, post, serving

MODEL = "mnist"


def questions() -> list[Question]:
    """The example's ten pictures, which are named by what they show."""
    path = f"/predictions/{MODEL}"
    return [
        Question(path, (MNIST / "test_data" / f"{n}.png").read_bytes(), str(n).encode()) for n in range(10)
    ]


def check(maker: Kind, server: Kind, store: Path) -> int:
    """Packs with `maker`, serves with `server`; returns how many of the ten digits were right."""
    archive = build_archive(Variant("mnist"), maker.archiver, store)
    asked = questions()
    with serving(server, store, {MODEL: archive.name}, False, asked[0]) as running:
        return sum(post(running.port, ask) == ask.answer for ask in asked)


def main() -> int:
    """Both directions; exit code 1 if any answer is wrong or something is missing."""
    if not environment.java_version():
        print("bench: missing: Java (apt-get install openjdk-17-jre-headless)", file=sys.stderr)
        return 1
    wrong = 0
    try:
        environment.ensure(os.environ.get("TORCH_INDEX"))
        for maker, server in ((TORCHSERVE, TORCHKEEPER), (TORCHKEEPER, TORCHSERVE)):
            with tempfile.TemporaryDirectory(prefix="servebench-") as folder:
                right = check(maker, server, Path(folder))
            print(f"packed by {maker.name}'s archiver, served by {server.name}: {right} of 10 digits right")
            wrong += 10 - right
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
