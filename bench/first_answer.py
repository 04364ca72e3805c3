"""How soon a model answers that compiles while it loads (`execution`: aot, compile), and from kept code.

    python bench/first_answer.py [--rounds 3]

The MNIST example on a server with one worker, eager and compiled, each with samples to warm up with: with
nothing kept (compile_cache=off), with an empty cache, and with the cache that this filled. Prints a table of
medians: seconds from the server's command to the first answer, from a kill of the worker to the next answer,
and the worker's own seconds to load. The server runs under this interpreter.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "image_classifier" / "mnist"
#: Name in the table -> the section of model-config.yaml, whether compiled code is kept, and whether some is.
WAYS = {
    "eager": ("{memoryFormat: channels_last}", False, False),
    "aot, nothing is kept": ("{aot: true}", False, False),
    "aot, empty cache": ("{aot: true}", True, False),
    "aot, filled cache": ("{aot: true}", True, True),
    "compile, nothing is kept": ("{compile: true}", False, False),
    "compile, empty cache": ("{compile: true}", True, False),
    "compile, filled cache": ("{compile: true}", True, True),
}
COLUMNS = ("start to answer s", "kill to answer s", "load s")


def archive(folder: Path, section: str) -> None:
    """The model store with the archive."""
    (folder / "model_store").mkdir()
    (folder / "extra" / "warmup").mkdir(parents=True)
    for number in (3, 4):
        shutil.copy(EXAMPLE / "test_data" / f"{number}.png", folder / "extra" / "warmup")
    (folder / "config.yaml").write_text(f"batchSize: 4\nstartupTimeout: 600\nexecution: {section}\n")
    command: list[str | Path] = [BIN / "torch-model-archiver", "--model-name", "mnist", "--version", "1.0"]
    command += ["--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"]
    command += ["--handler", EXAMPLE / "mnist_handler.py", "--extra-files", "extra", "-c", "config.yaml"]
    subprocess.run([*command, "--export-path", "model_store"], cwd=folder, check=True)


def answered(log: Path) -> None:
    """Waits for an answer to a digit, which must be the right one."""
    content = (EXAMPLE / "test_data" / "3.png").read_bytes()
    while True:
        said = re.search(r"Inference API bind to: .* \(port (\d+)\)", log.read_text())
        if said is not None:
            url = f"http://127.0.0.1:{said[1]}/predictions/mnist"
            request = urllib.request.Request(url, content, {"Content-Type": "image/png"}, method="PUT")
            try:
                with urllib.request.urlopen(request) as answer:
                    assert answer.read() == b"3"
                    return
            except urllib.error.HTTPError as error:
                error.close()
        time.sleep(0.01)


def measure(section: str, cache: str) -> list[float]:
    """The figures of one server, in the order of COLUMNS; `cache` is its setting `compile_cache`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive(folder, section)
        addresses = (f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics"))
        more = f"grpc_inference_port=0\ndefault_workers_per_model=1\ncompile_cache={cache}\n"
        (folder / "config.properties").write_text("".join(addresses) + more)
        command: list[str | Path] = [BIN / "torchserve", "--foreground", "--ncs", "--disable-token-auth"]
        command += ["--ts-config", "config.properties", "--model-store", "model_store"]
        log = folder / "log"
        begin = time.perf_counter()
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [*command, "--models", "mnist=mnist.mar"], cwd=folder, stdout=file, stderr=subprocess.STDOUT
            )
        try:
            answered(log)
            start = time.perf_counter() - begin
            (template,) = psutil.Process(process.pid).children()
            # One process imports what the handler needs, and the worker is forked from it.
            worker = max(template.children(recursive=True), key=psutil.Process.create_time)
            begin = time.perf_counter()
            os.kill(worker.pid, signal.SIGKILL)
            answered(log)
            back = time.perf_counter() - begin
            load = re.search(r"model loaded in ([\d.]+) s", log.read_text())
            assert load is not None
            return [start, back, float(load[1])]
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Measures all ways in turn, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as caches:
            for name, (section, kept, filled) in WAYS.items():
                cache = Path(caches, "compiled")
                assert cache.exists() == filled
                found[name].append(measure(section, str(cache) if kept else "off"))
    print(f"| MNIST | {' | '.join(COLUMNS)} |")
    print("|---" + "|---" * len(COLUMNS) + "|")
    for name, rounds in found.items():
        medians = [statistics.median(figures) for figures in zip(*rounds, strict=True)]
        print(f"| {name} | {' | '.join(f'{median:.1f}' for median in medians)} |")


if __name__ == "__main__":
    main()
