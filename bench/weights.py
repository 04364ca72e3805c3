"""What large weights cost: seconds to load 500 MB, and the memory of a server's workers that serve them.

    python bench/weights.py [--rounds 5]

The weights are those of eight linear layers (for channels_last convolutions) in an archive, and in a folder
of the model store. Each load is in a process of its own, all forms in turn; `load_state_dict` is what loading
was before: the class made, the file read and copied. Memory is the PSS of a server's workers and of the
process from which they are forked (pages that several have count once in all) with one, two and three of
them, after each has answered; each variant of `execution` with `shareWeights` and without. `back` is the
median time from a worker's SIGKILL until three are ready again. Saves the tables as
bench/results/<date>-weights.md.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from servebench import tables
from servebench.errors import BenchError
from servebench.machine import machine, versions
from servebench.paths import OURS, RESULTS
from servebench.servers import TORCHKEEPER, Question, Running, pss, serving

MODEL = """
import torch


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(4096, 4096) for _ in range(8)))

    def forward(self, x):
        return self.layers(x)
"""
PICTURES = """
import torch


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Conv2d(1365, 1365, 3, padding=1) for _ in range(8)))

    def forward(self, x):
        return self.layers(x.unflatten(1, (1, 64, 64))[:, :, :4, :4].expand(-1, 1365, -1, -1)).flatten(1)
"""
HANDLER = """
import os
import torch
from ts.torch_handler.base_handler import BaseHandler


class Sums(BaseHandler):
    def preprocess(self, data):
        return torch.ones(len(data), 4096)

    def postprocess(self, data):
        return [str(os.getpid()) if row.isfinite().all() else "not finite" for row in data]
"""
#: The form's name -> what makes `model` of the folder's files.
LOADS: Mapping[str, str] = {
    "`load_state_dict`": "model = Layers(); model.load_state_dict(torch.load('w.pth', weights_only=True))",
    "copied (a folder)": "model = load_eager(Path('big.py'), Path('w.pth'), CPU)",
    "mapped (an archive)": "model = load_eager(Path('big.py'), Path('w.pth'), CPU, mapped=True)",
    "mapped, .safetensors": "model = load_eager(Path('big.py'), Path('w.safetensors'), CPU, mapped=True)",
}
TIMED = """
import json, sys, time
from pathlib import Path
import torch
from torchkeeper.handler.weights import CPU, load_eager
from big import Layers

torch.set_num_threads(1)
begin = time.perf_counter()
{load}
loaded = time.perf_counter()
with torch.inference_mode():
    model(torch.ones(1, 4096))
print(json.dumps([loaded - begin, time.perf_counter() - loaded]))
"""
WORKERS = (1, 2, 3)
#: Seconds that compiling may take.
_COMPILES = 900.0
#: How often a worker is killed.
_KILLS = 5
CONFIG = "minWorkers: 1\nmaxWorkers: 3\nstartupTimeout: 1200\nresponseTimeout: 600\n"
#: Name of a row -> the model's source, what its configuration says, and whether it is a folder of the store.
ROWS: Mapping[str, tuple[str, str, bool]] = {
    "folder (copied)": (MODEL, "", True),
    "archive (mapped)": (MODEL, "", False),
    "bfloat16": (MODEL, "execution: {dtype: bfloat16}\n", False),
    "channels_last": (PICTURES, "execution: {memoryFormat: channels_last}\n", False),
    "aot": (MODEL, "execution: {aot: true}\nbatchSize: 8\n", False),
}


def prepare(folder: Path, model: str) -> None:
    """Writes the model's source, handler, weights and a sample."""
    (folder / "big.py").write_text(model)
    (folder / "handler.py").write_text(HANDLER)
    (folder / "extra" / "warmup").mkdir(parents=True, exist_ok=True)
    (folder / "extra" / "warmup" / "sample.txt").write_text("any")
    script = (
        "import torch; from big import Layers; from safetensors.torch import save_file\n"
        "state = Layers().state_dict(); torch.save(state, 'w.pth'); save_file(state, 'w.safetensors')\n"
    )
    subprocess.run([OURS / "bin" / "python", "-c", script], cwd=folder, check=True)


def load_rows(folder: Path, rounds: int) -> list[tuple[str, ...]]:
    """Seconds of each form: medians, and the median ratio to the first one of the same round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in LOADS}
    for _ in range(rounds):
        for name, load in LOADS.items():
            command = [OURS / "bin" / "python", "-c", TIMED.format(load=load)]
            output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
            loaded, answered = json.loads(output)
            found[name].append((loaded, answered))
    plain = [loaded for loaded, _ in found["`load_state_dict`"]]
    rows = []
    for name, times in found.items():
        loads, answers = zip(*times, strict=True)
        ratio = statistics.median(one / other for one, other in zip(loads, plain, strict=True))
        seconds = (statistics.median(loads), statistics.median(answers), ratio)
        rows.append((name, *(f"{one:.2f}" for one in seconds)))
    return rows


def ask(port: int, method: str, path: str) -> bytes:
    """One request; its answer.

    Raises:
        BenchError: it is not answered with 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise BenchError(f"{method} {path} answered {answer.status}: {body[:300]!r}")
        return body
    finally:
        connection.close()


def total(server: Running, workers: int) -> float:
    """The PSS of so many workers, MB, after each has answered."""
    ask(
        server.management_port,
        "PUT",
        f"/models/big?min_worker={workers}&max_worker={workers}&synchronous=true",
    )
    found: set[int] = set()
    while len(found) < workers:
        with ThreadPoolExecutor(4 * workers) as threads:
            answers = threads.map(lambda _: ask(server.port, "POST", "/predictions/big"), range(8 * workers))
            found.update(map(int, answers))
    shared = described(server)["imports"].get("pid")
    return sum(map(pss, found)) + (0.0 if shared is None else pss(shared))


def described(server: Running) -> dict[str, Any]:
    """What the server says of the model."""
    ((said),) = json.loads(ask(server.management_port, "GET", "/models/big"))
    return dict(said)


def seconds_to_return(server: Running) -> float:
    """From a worker's SIGKILL until all are ready again."""
    victim = described(server)["workers"][0]["pid"]
    begin = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    while True:
        ready = [one["pid"] for one in described(server)["workers"] if one["status"] == "READY"]
        if victim not in ready and len(ready) == WORKERS[-1]:
            return time.perf_counter() - begin
        time.sleep(0.005)


def memory_row(name: str, folder: Path, config: str, *, unpacked: bool) -> tuple[str, ...]:
    """The first worker's PSS, MB, what each further one adds, and seconds until a killed one is back.

    Raises:
        BenchError: weights are not shared that were to be.
    """
    with tempfile.TemporaryDirectory(prefix="servebench-") as place:
        store = Path(place)
        (folder / "model-config.yaml").write_text(CONFIG + config)
        subprocess.run(
            [
                *(TORCHKEEPER.archiver, "--model-name", "big", "--version", "1.0", "--export-path", store),
                *("--archive-format", "zip-store"),
                *("--model-file", "big.py", "--serialized-file", "w.pth", "--handler", "handler.py"),
                *("-c", "model-config.yaml", "--extra-files", "extra"),
            ],
            cwd=folder,
            check=True,
        )
        url = "big.mar"
        if unpacked:
            with zipfile.ZipFile(store / url) as archive:
                archive.extractall(store / "big")
            url = "big"
        question = Question("/predictions/big", b"", b"pid", lambda body: b"pid" if body.isdigit() else body)
        with serving(TORCHKEEPER, store, {"big": url}, False, question, limit=_COMPILES) as server:
            totals = [total(server, workers) for workers in WORKERS]
            back = statistics.median(seconds_to_return(server) for _ in range(_KILLS))
            if "weights" in (said := described(server)) and not said["weights"]["shared"]:
                raise BenchError(f"{name}: {said['weights']}")
    added = [after - before for before, after in zip([0.0, *totals], totals, strict=False)]
    return (name, *(f"{one:.0f}" for one in added), f"{back:.2f}")


def main() -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/weights.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    try:
        with tempfile.TemporaryDirectory(prefix="servebench-") as name:
            folder = Path(name)
            prepare(folder, MODEL)
            loads = load_rows(folder, rounds)
            size = (folder / "w.pth").stat().st_size / 1e6
            memory = []
            for row, (model, config, unpacked) in ROWS.items():
                prepare(folder, model)
                for shared in ("", "shareWeights: true\n"):
                    name = f"{row}{', `shareWeights`' if shared else ''}"
                    memory.append(memory_row(name, folder, config + shared, unpacked=unpacked))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    text = "\n".join(
        (
            f"# {size:.0f} MB of weights: loading, and memory per worker, {date}\n",
            f"`bench/weights.py --rounds {rounds}`. Other work ran on the same cores: ratios count.\n",
            tables.markdown(("loaded by", "load s", "first answer s", "of `load_state_dict`"), loads),
            tables.markdown(("MB of PSS", "first worker", "second adds", "third adds", "back s"), memory),
            "## Machine and versions\n",
            tables.markdown(("what", "value"), [*machine(), *versions({"torchkeeper": OURS})]),
        )
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{date}-weights.md").write_text(text)
    Console().print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
