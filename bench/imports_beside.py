"""An archive whose handler imports much, on TorchServe and here: start and memory, as ratios.

    .venv/bin/python bench/run.py --setup-only        # makes .venv-bench with TorchServe and torchvision
    .venv/bin/python bench/imports_beside.py [--rounds 5]

The same archive, two workers, defaults, both servers in turn. Seconds run from the command to the first right
answer, and until both workers are ready; memory is the PSS (MB of 10^6 bytes) of all processes of the server
then (TorchServe's Java front included, its Python launcher not). torchvision is .venv-bench's for both. Saves
the table as bench/results/<date>-imports-beside.md.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from rich.console import Console

from servebench import tables
from servebench.environment import HOOK
from servebench.errors import BenchError
from servebench.machine import machine, versions
from servebench.paths import OURS, RESULTS, THEIRS
from servebench.servers import START_LIMIT, TORCHKEEPER, TORCHSERVE, Kind, Question, serving

#: Name of a row -> what the handler imports.
HANDLERS = {
    "torch": "import torch",
    "torchvision": f"import {HOOK.stem}\nimport torchvision.models, torchvision.transforms",
}
HANDLER = """
{imports}


def handle(data, context):
    return data and ["fine"] * len(data)
"""
WORKERS = 2
FIGURES = ("first answer s", "both ready s", "memory MB")
ASK = Question("/predictions/m", b"x", b"fine")


def store(folder: Path, imports: str) -> Path:
    """A model store with the archive."""
    (folder / "store").mkdir()
    (folder / "h.py").write_text(HANDLER.format(imports=imports))
    (folder / "config.yaml").write_text(f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\n")
    command: list[str | Path] = [TORCHKEEPER.archiver, "--model-name", "m", "--version", "1.0"]
    command += ["--handler", "h.py", "-c", "config.yaml", "--export-path", "store"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "store"


def torchvision(folder: Path) -> None:
    """Has servers find .venv-bench's torchvision, and what lets it be imported.

    Raises:
        BenchError: it is not there.
    """
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(THEIRS), "platbase": str(THEIRS)}))
    if not (packages / "torchvision").is_dir():
        raise BenchError("there is no .venv-bench with torchvision: bench/run.py --setup-only makes it")
    for found in packages.glob("torchvision*"):
        if found.suffix != ".pth":
            (folder / found.name).symlink_to(found)
    if not (folder / HOOK.name).exists():
        (folder / HOOK.name).symlink_to(HOOK)
    os.environ["PYTHONPATH"] = str(folder)


def both_ready(port: int) -> None:
    """Waits until both workers are ready.

    Raises:
        BenchError: they do not become it.
    """
    limit = time.perf_counter() + START_LIMIT
    while time.perf_counter() < limit:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_LIMIT)
        try:
            connection.request("GET", "/models/m")
            workers = json.loads(connection.getresponse().read())[0]["workers"]
        finally:
            connection.close()
        if [one["status"] for one in workers] == ["READY"] * WORKERS:
            return
        time.sleep(0.02)
    raise BenchError(f"{WORKERS} workers did not become ready")


def measure(kind: Kind, imports: str) -> tuple[float, ...]:
    """The figures of one server, in the order of FIGURES."""
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        place = store(Path(name), imports)
        begin = time.perf_counter()
        with serving(kind, place, {"m": "m.mar"}, False, ASK) as server:
            both_ready(server.management_port)
            ready = time.perf_counter() - begin
            return server.seconds_to_answer, ready, server.memory()


def main() -> int:
    """Measures all in turn, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/imports_beside.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="servebench-") as name:
            torchvision(Path(name))
            for _ in range(rounds):
                for row, imports in HANDLERS.items():
                    for kind in (TORCHSERVE, TORCHKEEPER):
                        found.setdefault((row, kind.name), []).append(measure(kind, imports))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows = []
    for row in HANDLERS:
        theirs, ours = found[row, TORCHSERVE.name], found[row, TORCHKEEPER.name]
        for place, figure in enumerate(FIGURES):
            pairs = [(other[place], one[place]) for other, one in zip(theirs, ours, strict=True)]
            medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
            ratios = sorted(one / other for other, one in pairs)
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            cells = (*(tables.number(value) for value in medians), f"{statistics.median(ratios):.2f}", spread)
            rows.append((row, figure, *cells))
    date = datetime.date.today().isoformat()
    head = ("handler imports", "figure", "TorchServe", "torchkeeper", "ratio", "rounds")
    text = "\n".join(
        (
            f"# An archive whose handler imports torchvision, beside TorchServe, {date}\n",
            f"`bench/imports_beside.py --rounds {rounds}`: two workers, defaults; medians of {rounds} rounds",
            "in turn, ratios of each round. Other work ran on the same cores: ratios count.\n",
            tables.markdown(head, rows),
            "## Machine and versions\n",
            tables.markdown(
                ("what", "value"), [*machine(), *versions({"torchkeeper": OURS, "TorchServe": THEIRS})]
            ),
        )
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{date}-imports-beside.md").write_text(text)
    Console().print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
