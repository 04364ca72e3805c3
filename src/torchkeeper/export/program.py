"""Exports a model with torch.export, and compares what both compute.

TorchScript goes through torch's converter first. A program that computes something else is never written.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.export
from torch.utils import _pytree as pytree

from torchkeeper.handler.compiling import compile_no_headers, workshop
from torchkeeper.handler.exported import INPUT_NAMES, read_pt2
from torchkeeper.handler.ports import Port
from torchkeeper.handler.probe import made_up
from torchkeeper.handler.safe_text import first_sentence
from torchkeeper.handler.served_model import ServedModel

#: Rows of the batch that the program is made from: 1 would be taken for the only length.
_ROWS = 2
#: Rows of the batches that are compared.
_COMPARED = (1, 2, 5)


class ExportRefused(Exception):
    """The model is not exported; the message says why, and what helps."""


def exported(model: torch.nn.Module, inputs: Sequence[Port], high: int) -> Any:
    """The model as an exported program, for batches of up to `high` where the first dimension is open.

    Raises:
        ExportRefused: torch.export cannot.
    """
    maker = torch.Generator().manual_seed(0)
    examples = tuple(made_up(port, min(_ROWS, high), maker) for port in inputs)
    # A Dim must have room for two lengths.
    batch = torch.export.Dim("batch", min=1, max=high) if high > 1 else None
    shapes = tuple(
        {
            place: batch if place == 0 else torch.export.Dim.AUTO
            for place, size in enumerate(port.sizes or ())
            if not size.fixed
        }
        for port in inputs
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(model, torch.jit.ScriptModule):
                model = _from_torchscript(model, examples)
            return torch.export.export(model, examples, dynamic_shapes=shapes)
    except Exception as error:
        why = first_sentence(error).rstrip(".")
        raise ExportRefused(
            f"torch.export cannot export the model: {why}. Where a length must be one number, "
            "name it in --input"
        ) from error


def _from_torchscript(model: torch.jit.ScriptModule, examples: tuple[torch.Tensor, ...]) -> Any:
    """The module that torch's converter makes of TorchScript; what depends on training is settled before."""
    # torch has no public name for it.
    converter = importlib.import_module("torch._export.converter")
    frozen = torch.jit.freeze(model) if hasattr(model, "training") else model
    return converter.TS2EPConverter(frozen, examples, None).convert().module()


def compiled_by_inductor(file: Path) -> None:
    """Puts AOTInductor's package, with the names of its inputs, in the place of an exported program's file.

    Raises:
        ExportRefused: it cannot be compiled; most often there is no C++ compiler.
    """
    try:
        names = [port.name for port in read_pt2(file, torch.device("cpu")).inputs]
        with TemporaryDirectory() as folder, workshop(Path(folder)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile_no_headers()
            # By way of the file, because only then does torch compile it for batches of one.
            program = torch.export.load(file)
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(file),
                inductor_configs={"aot_inductor.metadata": {INPUT_NAMES: ",".join(names)}},
            )
    except Exception as error:
        raise ExportRefused(f"AOTInductor cannot compile the model: {first_sentence(error)}") from error


def same_answers(model: torch.nn.Module, file: Path, inputs: Sequence[Port], high: int) -> ServedModel:
    """The model of the file, which computed what `model` computes, in batches of several sizes.

    Raises:
        ExportRefused: it did not.
    """
    maker = torch.Generator().manual_seed(1)
    made = read_pt2(file, torch.device("cpu"))
    for rows in _COMPARED:
        tensors = [made_up(port, min(rows, high), maker) for port in inputs]
        with torch.inference_mode():
            try:
                expected, found = (pytree.tree_leaves(one(*tensors)) for one in (model, made))
                for one, other in zip(expected, found, strict=True):
                    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4, equal_nan=True)
            except Exception as error:
                raise ExportRefused(
                    f"the exported model computes something else for a batch of {len(tensors[0])}: "
                    f"{first_sentence(error)}"
                ) from error
    return made
