"""What becomes of a model that MLflow saved, in an archive that the built-in handler `mlflow` serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torchkeeper.archive.archive import Archive
from torchkeeper.config.table import Configured
from torchkeeper.doctor.finding import Verdict
from torchkeeper.doctor.imports import Import
from torchkeeper.doctor.lacking import examine_imports
from torchkeeper.doctor.pickles import PickleKind, scan_file
from torchkeeper.doctor.source import local_modules, missing_import
from torchkeeper.handler.formats import CODE, TORCHSCRIPT_ENDS, code_remark, pickle_remark
from torchkeeper.wire.mlmodel import HANDLER, MLMODEL, read_mlmodel

_Check = tuple[str, Verdict, str]
_WHAT = "serialized file"


def examine_mlflow(archive: Archive, setup: Configured) -> Iterator[_Check]:
    """What is to be said of MLmodel, of the model's file and of the model's own code."""
    folder = archive.model_dir
    try:
        described = read_mlmodel((folder / MLMODEL).read_bytes())
    except (OSError, ValueError) as error:
        yield "handler", Verdict.BROKEN, f"{HANDLER} cannot read {MLMODEL}: {error}"
        return
    folders = (folder / described.code, folder) if described.code else (folder,)
    path = folder / (archive.manifest.serialized_file or "")
    if not path.is_file():
        return
    scan = scan_file(path)
    held = {name.partition(".")[0] for name in scan.refused if "." in name}
    if path.suffix in CODE:
        yield _WHAT, Verdict.WORKS, code_remark(path.name, path.suffix)
    elif scan.kind is PickleKind.TORCHSCRIPT:
        yield _WHAT, Verdict.WORKS, f"{path.name} is {TORCHSCRIPT_ENDS}"
    else:
        yield _WHAT, *_pickled(path.name, held, folders, archive, setup)
    own = sorted(folders[0].glob("*.py")) if described.code else []
    start = {
        file: "" if file.stem in held else "it is read only if the model asks for it"
        for file in sorted(own, key=lambda file: file.stem not in held)
    }
    if start:
        yield from examine_imports(start, None, folders, archive, setup)


def _pickled(
    name: str, held: set[str], folders: tuple[Path, ...], archive: Archive, setup: Configured
) -> tuple[Verdict, str]:
    """A whole module; `held` are the modules that its pickle names."""
    if "__main__" in held:
        why = "names classes of the script that saved it: save it again with MLflow's code_paths"
        return Verdict.BROKEN, f"{name} {why}"
    wanted = [Import(module, (), 0) for module in sorted(held)]
    found = [one for one in wanted if not any(local_modules(one, folder)[0] for folder in folders)]
    lacking = ", ".join(filter(None, map(missing_import, found)))
    listed = archive.manifest.requirements_file
    if not lacking:
        return Verdict.WORKS, pickle_remark(name)
    if listed and setup.install_py_dep_per_model:
        return Verdict.WORKS, f"{pickle_remark(name)}; {listed} must bring {lacking}"
    why = f"{name} needs {lacking}, which is not installed: install it"
    return Verdict.BROKEN, f"{why}, or set install_py_dep_per_model if {listed} has it" if listed else why
