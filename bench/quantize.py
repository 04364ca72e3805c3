"""What `execution.quantize` gains on a transformer's encoder: time by batch, weights and how far answers are.

    python bench/quantize.py [--threads 1] [--seconds 1]

Four layers of 512 with random weights, texts of 64 embeddings; the model in process, no network, each variant
in a process of its own. Prints a table of medians: milliseconds for each text by batch size, MB of the
variant's own weights, seconds to apply it (torchao's import and compiling included), and the greatest
difference to eager float32's answers, as a part of their greatest value.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from servebench.variants import in_turn

#: Name in the table -> the section of model-config.yaml.
VARIANTS: dict[str, dict[str, Any]] = {
    "eager float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8-weight-only": {"quantize": "int8-weight-only"},
    "int8-dynamic": {"quantize": "int8-dynamic"},
    "int8-dynamic, bfloat16": {"quantize": "int8-dynamic", "dtype": "bfloat16"},
    "aot": {"aot": True},
    "aot, bfloat16": {"aot": True, "dtype": "bfloat16"},
    "aot, int8-dynamic": {"aot": True, "quantize": "int8-dynamic"},
    "aot, int8-weight-only": {"aot": True, "quantize": "int8-weight-only"},
}
BATCHES = (1, 4, 16)
WIDTH, LENGTH = 512, 64


def weights_of(model: Any) -> float:
    """MB of a module's parameters; of those that are made of other tensors, theirs."""
    import torch

    def size(tensor: Any) -> int:
        parts = (
            tensor.__tensor_flatten__()[0] if type(tensor) not in (torch.Tensor, torch.nn.Parameter) else ()
        )
        own = 0 if parts else tensor.numel() * tensor.element_size()
        return int(own + sum(size(getattr(tensor, part)) for part in parts))

    return sum(map(size, model.parameters())) / 1e6


class Holder:
    """A handler that keeps its model where most do."""

    def __init__(self, model: Any) -> None:
        self.model = model


def measure(name: str, threads: int, seconds: float) -> dict[str, Any]:
    """The figures of one variant, in this process."""
    import torch

    from torchkeeper.config.execution_rules import execution
    from torchkeeper.handler.context import Context
    from torchkeeper.handler.execution import apply

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True)
    model: Any = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()
    torch.backends.mha.set_fastpath_enabled(False)
    texts = {size: torch.rand(size, LENGTH, WIDTH) for size in BATCHES}
    with torch.inference_mode():
        expected = model(texts[4])
    begin = time.perf_counter()
    applied = apply(execution.plain(VARIANTS[name]), Holder(model), Context("m", "/", {}, 1, None, "0.12.0"))
    if applied.waits:
        with torch.inference_mode():
            model(texts[4])
        applied.complete()
    with torch.inference_mode():
        found: dict[str, Any] = {"load": time.perf_counter() - begin}
        difference = (model(texts[4]) - expected).abs().max() / expected.abs().max()
        variant = applied.doors[0].variant if applied.doors else model
        found |= {"difference": difference.item(), "mb": weights_of(getattr(variant, "uncompiled", variant))}
        for size in BATCHES:
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                begin = time.perf_counter()
                model(texts[size])
                times.append((time.perf_counter() - begin) / size * 1e3)
            found[str(size)] = statistics.median(times)
    return found


def main() -> None:
    """Measures all variants, in turn, and prints the table of medians."""
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
    sizes = " | ".join(f"batch {size}" for size in BATCHES)
    print(f"| variant | {sizes} | weights MB | load s | difference |")
    print("|---|" + "---|" * (len(BATCHES) + 3))
    for name, rounds in found.items():
        one = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        cells = " | ".join(f"{one[str(size)]:.1f}" for size in BATCHES)
        print(f"| {name} | {cells} | {one['mb']:.0f} | {one['load']:.1f} | {one['difference']:.1%} |")


if __name__ == "__main__":
    main()
