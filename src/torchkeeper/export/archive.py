"""An archive becomes one whose model is a .pt2 file.

Runs the model's code, as a worker would. The new archive is written only when its model has computed what the
old one computes. What is exported and compared: `export.program`; what the model takes: `export.inputs`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from torchkeeper.archive.archive import Archive, Package, created_on, open_archive, write_archive
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.errors import ArchiveError
from torchkeeper.export.inputs import inputs_of
from torchkeeper.export.program import ExportRefused, compiled_by_inductor, exported, same_answers
from torchkeeper.handler.builtin import BUILTIN
from torchkeeper.handler.ports import Port
from torchkeeper.handler.served_model import ServedModel
from torchkeeper.handler.weights import load_eager, read_torchscript
from torchkeeper.wire.entry_point import read_handler_text

CPU = torch.device("cpu")


def export_archive(
    source: Path, target: Path, given: Sequence[Port], high: int, epoch: str | None, *, compiled: bool
) -> ServedModel:
    """Writes `target`: the archive `source` with its model as an exported program, or compiled; returns it.

    Args:
        given: what the model takes, if it is known; else the archive must say so.
        high: the largest batch.
        epoch: SOURCE_DATE_EPOCH, if it is set.

    Raises:
        ExportRefused: `target` is there, the model cannot be exported, or it would compute something else.
    """
    if target.exists():
        raise ExportRefused(f"{target} already exists; remove it, or name another file with --output")
    with tempfile.TemporaryDirectory(prefix="torchkeeper-export-") as scratch:
        folder = Path(scratch)
        try:
            archive = open_archive(source, folder / "archive")
        except (ArchiveError, OSError) as error:
            raise ExportRefused(str(error)) from None
        sys.path.insert(0, str(archive.model_dir))
        inputs = given or _known_inputs(archive)
        model = _model(archive)
        file = folder / f"{Path(archive.manifest.serialized_file or 'model').stem}.pt2"
        program = exported(model, inputs, high)
        torch.export.save(program, file)
        if compiled:
            compiled_by_inductor(file)
        made = same_answers(model, file, inputs, high)
        _write(archive, file, target, epoch)
        return made


def _known_inputs(archive: Archive) -> list[Port]:
    """What the model takes, as model-config.yaml or a built-in handler knows."""
    name = archive.manifest.config_file
    config = {}
    if name and (archive.model_dir / name).is_file():
        text = (archive.model_dir / name).read_text(encoding="utf-8", errors="replace")
        config = parse_model_config(text, name)[0].raw
    found = inputs_of(config.get("v2Inputs"), archive.manifest.handler)
    if not found:
        raise ExportRefused(
            "nobody says what the model takes: give each of its inputs, such as --input x:FP32:-1,3,224,224 "
            "(-1: of any length, the first one the batch's), or v2Inputs in model-config.yaml"
        )
    return found


def _model(archive: Archive) -> torch.nn.Module:
    manifest, folder = archive.manifest, archive.model_dir
    weights = folder / manifest.serialized_file if manifest.serialized_file else None
    try:
        if manifest.model_file:
            model = load_eager(folder / manifest.model_file, weights, CPU)
        elif weights is not None and weights.suffix == ".pt":
            model = read_torchscript(weights, CPU)
        else:
            raise ExportRefused("only models with a model file, and TorchScript (.pt), can be exported")
    except (RuntimeError, ImportError, ValueError, TypeError) as error:
        raise ExportRefused(f"the model cannot be loaded: {error}") from error
    return model.eval()


def _write(archive: Archive, file: Path, target: Path, epoch: str | None) -> None:
    """The archive with the new file in the old one's place.

    What its own handler may import or read stays: the model file, and the old file as well.
    """
    old = archive.manifest.serialized_file
    files = {
        path.relative_to(archive.model_dir).as_posix(): path
        for path in archive.model_dir.rglob("*")
        if path.is_file() and "MAR-INF" not in path.relative_to(archive.model_dir).parts
    }
    if old and _built_in(archive):
        files.pop(old, None)
    files[file.name] = file
    manifest = dict(archive.raw_manifest)
    model = {key: value for key, value in manifest.get("model", {}).items() if key != "modelFile"}
    manifest["model"] = model | {"serializedFile": file.name}
    try:
        moment = created_on(epoch)
        write_archive(Package(target.name, json.dumps(manifest, indent=2), files), target, "default", moment)
    except (OSError, ValueError) as error:
        raise ExportRefused(f"{target} cannot be written: {error}") from error


def _built_in(archive: Archive) -> bool:
    """Whether the archive names a built-in handler and has no handler of that name itself."""
    handler = read_handler_text(archive.manifest.handler or "")
    return handler.module in BUILTIN and handler.file(archive.model_dir) is None
