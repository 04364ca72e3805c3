"""`torchkeeper export`: an archive whose model is Python or TorchScript becomes one with a .pt2 file.

Light until it runs: torch is imported then.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from torchkeeper.archive.store import SUFFIXES

if TYPE_CHECKING:
    from torchkeeper.handler.ports import Size


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's flags."""
    export = verbs.add_parser(
        "export", help="write an archive anew, its model as a .pt2 file; runs the model's code"
    )
    export.add_argument("archive", type=Path, metavar="ARCHIVE", help="one with a model file or TorchScript")
    export.add_argument("--to", choices=("pt2",), required=True, help="the form of the model's file")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: the archive's name with -pt2")
    export.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:DATATYPE:SHAPE",
        help="an input of the model, such as x:FP32:-1,3,224,224; -1: any length, the first one the batch's",
    )
    export.add_argument("--max-batch", type=int, default=64, metavar="N", help="largest batch; default: 64")
    export.add_argument(
        "--compile", action="store_true", help="compile it with AOTInductor, for this machine"
    )


def run(arguments: argparse.Namespace, epoch: str | None) -> int:
    """Writes the new archive; returns the exit code. `epoch`: SOURCE_DATE_EPOCH, if it is set."""
    try:
        from torchkeeper.export.archive import export_archive
        from torchkeeper.export.inputs import read_input, taken
        from torchkeeper.export.program import ExportRefused
    except ImportError as error:
        print(f"torchkeeper export needs torch: pip install torchkeeper[torch] ({error})", file=sys.stderr)
        return 1
    source: Path = arguments.archive
    try:
        target = arguments.output or _beside(source)
        if arguments.max_batch < 1:
            raise ValueError("--max-batch must be at least 1")
        inputs = [read_input(text) for text in arguments.input]
        model = export_archive(source, target, inputs, arguments.max_batch, epoch, compiled=arguments.compile)
    except (ExportRefused, ValueError) as error:
        print(f"torchkeeper export: error: {error}", file=sys.stderr)
        return 1
    print(f"{target} has the model as a .pt2 file, which takes {taken(model.inputs)}")
    if model.batch is not None and (said := narrowed(model.batch, arguments.max_batch)):
        print(said)
    return 0


def narrowed(batch: Size, asked: int) -> str | None:
    """What is to be known of a compiled model that takes fewer sizes of batches than the program; else None.

    AOTInductor chooses kernels for the batch that the program was exported with, and bounds it by them.
    """
    few = [f"smaller batches are filled up to {batch.low}"] if batch.low > 1 else []
    if batch.high is not None and batch.high < asked:
        few.append(f"larger ones are computed in parts of {batch.high}, the best batchSize")
    return f"AOTInductor narrowed the batch: {', '.join(few)}" if few else None


def _beside(source: Path) -> Path:
    """Where the new archive goes unless something else is said."""
    name = source.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return source.with_name(f"{name}-pt2.mar")
