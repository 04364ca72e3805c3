"""What each variant of `execution` gains on the MNIST example: one worker's handler in process, no network.

    python bench/execution.py [--threads 1] [--seconds 2]

Each variant is loaded in a process of its own, as a worker loads it, and answers pictures of the test set in
batches. Prints a table: microseconds per picture (decoding, model and answer) by batch size, the seconds that
loading and warm-up took, and how many of 2,000 digits are other ones than eager float32's.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servebench.variants import in_turn

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "image_classifier" / "mnist"
IMAGES = ROOT / "tests" / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
#: Name in the table -> the section of model-config.yaml; `script` is the model as TorchScript.
VARIANTS: Mapping[str, dict[str, Any]] = {
    "eager float32": {},
    "channels_last": {"memoryFormat": "channels_last"},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16, channels_last": {"dtype": "bfloat16", "memoryFormat": "channels_last"},
    "TorchScript": {"script": True},
    "TorchScript, freeze": {"script": True, "freeze": True},
    "aot": {"aot": True},
    "aot, bfloat16": {"aot": True, "dtype": "bfloat16"},
}
BATCHES = (1, 4, 16, 64)
COMPARED = 2000


def pictures() -> list[bytes]:
    """The first pictures of the test set, as PNG."""
    import numpy as np
    from PIL import Image

    pixels = np.frombuffer(gzip.decompress(IMAGES.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    made = []
    for one in pixels[:COMPARED]:
        target = io.BytesIO()
        Image.fromarray(one).save(target, "png")
        made.append(target.getvalue())
    return made


def measure(name: str, threads: int, seconds: float) -> dict[str, Any]:
    """The figures of one variant, in this process."""
    import torch

    from torchkeeper.config.execution_rules import execution
    from torchkeeper.wire.messages import Input, Kind, ModelSpec, Part, Reply
    from torchkeeper.worker.loader import load
    from torchkeeper.worker.warm_up import Audience

    section = dict(VARIANTS[name])
    shown = pictures()
    with tempfile.TemporaryDirectory() as folder:
        for file in ("mnist.py", "mnist_cnn.pt", "mnist_handler.py"):
            Path(folder, file).write_bytes((EXAMPLE / file).read_bytes())
        model = {"modelName": "mnist", "modelFile": "mnist.py", "serializedFile": "mnist_cnn.pt"}
        if section.pop("script", False):
            sys.path.insert(0, str(EXAMPLE))
            from mnist import Net

            net = Net().eval()
            net.load_state_dict(torch.load(EXAMPLE / "mnist_cnn.pt", weights_only=True))
            torch.jit.save(torch.jit.script(net), Path(folder, "script.pt"))
            model = {"modelName": "mnist", "serializedFile": "script.pt"}
        for number in range(2):
            Path(folder, f"{number}.png").write_bytes(shown[number])
        wanted = execution.plain({**section, "threads": threads, "warmup": ["0.png", "1.png"]})
        spec = ModelSpec(
            *(
                "mnist",
                "1.0",
                folder,
                {"model": model},
                "mnist_handler.py",
                None,
                None,
                max(BATCHES),
                threads,
            ),
            execution=wanted,
        )
        torch.set_num_threads(threads)
        begin = time.perf_counter()
        service = load(spec, 10_000)
        found: dict[str, Any] = {"load": time.perf_counter() - begin}
        requests = [
            Input(str(uuid.uuid4()), Kind.PREDICT, (Part("body", picture, "image/png"),), {})
            for picture in shown
        ]
        digits: list[str] = []
        for at in range(0, len(requests), 16):
            for reply in service.predict(requests[at : at + 16], Audience(16)):
                assert isinstance(reply, Reply), reply
                digits.append(reply.body.decode())
        found["digits"] = digits
        for size in BATCHES:
            times = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                at = len(times) * size % (len(requests) - size)
                begin = time.perf_counter()
                service.predict(requests[at : at + size], Audience(size))
                times.append((time.perf_counter() - begin) / size * 1e6)
            found[str(size)] = sorted(times)[len(times) // 2]
        service.drain()
    return found


def main() -> None:
    """Measures all variants, three times in turn, and prints the table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, arguments.threads, arguments.seconds)))
        return
    flags = "--threads", str(arguments.threads), "--seconds", str(arguments.seconds)
    found = in_turn(__file__, VARIANTS, arguments.rounds, *flags)
    reference = found["eager float32"][0]["digits"]
    print("| variant | " + " | ".join(f"batch {size}" for size in BATCHES) + " | load | other digits |")
    print("|---|" + "---|" * (len(BATCHES) + 2))
    for name, rounds in found.items():
        medians = [sorted(one[str(size)] for one in rounds)[len(rounds) // 2] for size in BATCHES]
        load = sorted(one["load"] for one in rounds)[len(rounds) // 2]
        others = sum(one != other for one, other in zip(rounds[0]["digits"], reference, strict=True))
        cells = [f"{median:.0f}" for median in medians]
        print(f"| {name} | " + " | ".join(cells) + f" | {load:.1f} s | {others} |")


if __name__ == "__main__":
    main()
