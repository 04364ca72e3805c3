"""What a handler can do at most: decode + model in one pinned process, without any server or network.

Started by the benchmark, once per core, each process with one thread. Imports `ts.*` only, so that it runs in
torchkeeper's environment and in TorchServe's alike. Prints the images per second, or with `--answers` the
handler's answer to each picture.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

#: Batches run before the clock starts: first calls choose kernels and fill caches.
WARM_UP = 20


def load_handler(archive: Path, folder: Path) -> Any:
    """The archive's handler, initialised as a worker would, on the CPU."""
    from ts.context import Context

    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("handler", folder / manifest["model"]["handler"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler"] = module
    spec.loader.exec_module(module)
    kinds = [k for k in vars(module).values() if isinstance(k, type) and k.__module__ == "handler"]
    handler = kinds[0]()
    context = Context("mnist", str(folder), manifest, 1, None, "0.12.0", model_yaml_config={})
    handler.context = context
    handler.initialize(context)
    return handler


def run(handler: Any, rows: list[dict[str, bytearray]]) -> list[Any]:
    """One batch: what the handler does between bytes in and answers out."""
    return list(handler.postprocess(handler.inference(handler.preprocess(rows))))


def measure(handler: Any, pictures: list[bytearray], batch: int, seconds: float) -> float:
    """Images per second over `seconds`, rotating through the pictures."""
    rows = [{"body": picture} for picture in pictures]
    batches = [rows[start : start + batch] for start in range(0, len(rows) - batch + 1, batch)]
    for number in range(WARM_UP):
        run(handler, batches[number % len(batches)])
    print("ready", flush=True)
    sys.stdin.readline()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run(handler, batches[done % len(batches)])
        done += 1
    return done * batch / (time.perf_counter() - start)


def main() -> None:
    """Parses, pins, loads, and prints one number or the answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--core", type=int)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--answers", action="store_true")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    import torch

    torch.set_num_threads(1)
    pictures = [bytearray(path.read_bytes()) for path in sorted(args.pictures.glob("*.png"))]
    stdout, sys.stdout = sys.stdout, sys.stderr  # a handler's prints must not mix with the answers
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        handler = load_handler(args.archive, Path(folder))
        if args.answers:
            found = [str(run(handler, [{"body": picture}])[0]) for picture in pictures]
            sys.stdout = stdout
            print("\n".join(found))
            return
        sys.stdout = stdout
        print(measure(handler, pictures, args.batch, args.seconds))


if __name__ == "__main__":
    main()
