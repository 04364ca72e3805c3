"""What workers gain that share their handler's imports: starts, memory, and a killed worker's return.

    python bench/imports.py [--rounds 3] "torchvision=import torchvision.models" ...

A handler that does nothing but import is served by two workers, with and without `shareImports`, in turn.
Prints a table of medians: seconds from the command until both workers are ready, and from a kill until both
are ready again; memory (PSS, MB) of all processes of the server, and of one of its workers. The server runs
under this interpreter; the libraries must be there for it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from servebench.servers import pss

BIN = Path(sys.executable).parent
HANDLER = """
{imports}

def handle(data, context):
    return data and ["fine"] * len(data)
"""
WORKERS = 2
COLUMNS = ("start s", "back s", "server MB", "worker MB")


def archive(folder: Path, imports: str, share: bool) -> None:
    """The model store with the archive."""
    (folder / "model_store").mkdir()
    (folder / "h.py").write_text(HANDLER.format(imports=imports))
    config = f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\nshareImports: {str(share).lower()}\n"
    (folder / "config.yaml").write_text(config)
    command: list[str | Path] = [BIN / "torch-model-archiver", "--model-name", "m", "--version", "1.0"]
    command += ["--handler", "h.py", "-c", "config.yaml", "--export-path", "model_store"]
    subprocess.run(command, cwd=folder, check=True)
    addresses = (f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics"))
    (folder / "config.properties").write_text("".join(addresses) + "grpc_inference_port=0\n")


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """A server's process and how its model is described."""
    with open(folder / "log", "wb") as log:
        command: list[str | Path] = [BIN / "torchserve", "--foreground", "--ncs", "--disable-token-auth"]
        command += ["--ts-config", "config.properties", "--model-store", "model_store", "--models", "m=m.mar"]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    def described() -> dict[str, Any]:
        said = re.search(r"Management API bind to: .* \(port (\d+)\)", (folder / "log").read_text())
        if said is None:
            return {"workers": []}
        with urllib.request.urlopen(f"http://127.0.0.1:{said[1]}/models/m") as answer:
            found: dict[str, Any] = json.load(answer)[0]
            return found

    try:
        yield process.pid, described
    finally:
        process.terminate()
        process.wait()


def ready(described: Callable[[], dict[str, Any]], *, without: int = 0) -> list[int]:
    """The workers' processes, once all are ready."""
    while True:
        pids = [one["pid"] for one in described()["workers"] if one["status"] == "READY"]
        if len(pids) == WORKERS and without not in pids:
            return pids
        time.sleep(0.005)


def measure(imports: str, share: bool) -> list[float]:
    """The figures of one server, in the order of COLUMNS."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive(folder, imports, share)
        begin = time.perf_counter()
        with server(folder) as (pid, described):
            workers = ready(described)
            start = time.perf_counter() - begin
            if described()["imports"]["shared"] != share:
                sys.exit(f"{imports}: {described()['imports']}")
            family = [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
            memory = sum(map(pss, family)), statistics.median(map(pss, workers))
            begin = time.perf_counter()
            os.kill(workers[0], signal.SIGKILL)
            ready(described, without=workers[0])
            return [start, time.perf_counter() - begin, *memory]


def main() -> None:
    """Measures all libraries in both ways, in turn, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("libraries", nargs="+", metavar="NAME=IMPORTS")
    arguments = parser.parse_args()
    found: dict[tuple[str, bool], list[list[float]]] = {}
    for _ in range(arguments.rounds):
        for library in arguments.libraries:
            for share in (True, False):
                name, _, imports = library.partition("=")
                found.setdefault((name, share), []).append(measure(imports, share))
    print(f"| handler imports | shareImports | {' | '.join(COLUMNS)} |")
    print("|---|---" + "|---" * len(COLUMNS) + "|")
    for (name, share), rounds in found.items():
        medians = [statistics.median(figures) for figures in zip(*rounds, strict=True)]
        cells = [f"{median:.2f}" if median < 20 else f"{median:.0f}" for median in medians]
        print(f"| {name} | {str(share).lower()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
