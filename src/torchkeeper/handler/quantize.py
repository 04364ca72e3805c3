"""Linear layers whose weights become 8 bits wide, by torchao: what `execution.quantize` asks for."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: What the section calls them, and the names of torchao's configurations.
_CONFIGS = {
    "int8-dynamic": "Int8DynamicActivationInt8WeightConfig",
    "int8-weight-only": "Int8WeightOnlyConfig",
}


class NotQuantized(RuntimeError):
    """The model, or the machine, has not what it takes; the message says why."""


def quantizer(name: str) -> Callable[[torch.nn.Module], None]:
    """What quantizes the linear layers of a module in their place.

    Args:
        name: `int8-dynamic`, which also computes in 8 bits and rounds inputs row by row, or
            `int8-weight-only`.

    Raises:
        NotQuantized: torchao is not installed, or too old. Of the function: there are no linear layers.
    """
    quantization = _torchao()
    try:
        config = getattr(quantization, _CONFIGS[name])()
        quantize: Any = quantization.quantize_
    except AttributeError as error:
        raise NotQuantized(f"this torchao is too old for it ({error})") from error

    def run(module: torch.nn.Module) -> None:
        if not any(isinstance(layer, torch.nn.Linear) for layer in module.modules()):
            raise NotQuantized("the model has no linear layers, which alone are quantized")
        quantize(module, config)

    return run


def _torchao() -> Any:
    try:
        with _silence():
            return importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise NotQuantized(f"torchao is missing ({error}): pip install 'torchkeeper[quantize]'") from error


@contextmanager
def _silence() -> Iterator[None]:
    """torchao warns of kernels for GPUs that it brings and does not find in use, once for each process."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
