"""Anything that a set-up may lie in: a file or folder is looked at and examined as what it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchkeeper.archive.archive import MANIFEST, Archive, Manifest
from torchkeeper.archive.archiver import ModelArchiverConfig, ModelArchiverError, archive_model
from torchkeeper.archive.store import SUFFIXES, stored_names
from torchkeeper.config.table import Configured
from torchkeeper.doctor.archives import examine_archive, examine_weights
from torchkeeper.doctor.configuration import examine_properties
from torchkeeper.doctor.dockerfile import examine_dockerfile
from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.doctor.kubernetes import examine_objects
from torchkeeper.doctor.lacking import examine_imports, unread
from torchkeeper.doctor.pickles import PickleKind, scan_file
from torchkeeper.doctor.source import parse_source
from torchkeeper.handler.sagemaker_folder import SCRIPT, check_functions, script_in, weights_in
from torchkeeper.wire.mlmodel import MLMODEL

#: A set-up of a configuration and a store, as the whole doctor examines it.
SetUp = Callable[[Path, Path | None], tuple[Finding, ...]]

_DOCKERFILE = re.compile(r"(?i)^(?:Dockerfile|Containerfile)(?:\..*)?$|\.(?:dockerfile|containerfile)$")
#: Vertex AI's prebuilt containers look for this one.
_VERTEX = "model.mar"
#: Where a packed archive is unpacked to.
_UNPACKED = "unpacked"


def examine_place(path: Path, set_up: SetUp, scratch: Path) -> tuple[Finding, ...]:
    """What becomes of what is there; `scratch` is a folder to unpack in."""
    if path.is_dir():
        return tuple(_folder(path, set_up, scratch))
    if not path.is_file():
        return (Finding(str(path), "file", Verdict.BROKEN, "there is no such file or folder"),)
    if _DOCKERFILE.search(path.name):
        return tuple(examine_dockerfile(path, scratch))
    if path.suffix in (".yaml", ".yml", ".json"):
        return tuple(examine_objects(path.read_text(encoding="utf-8", errors="replace"), path.name))
    if path.name.endswith((*SUFFIXES, ".war")):
        found = _archive(path, scratch)
        unpacked = scratch / _UNPACKED
        if any(MANIFEST in one.why for one in found) and unpacked.is_dir():
            found = _of_sagemaker(path.name, unpacked) or found
        return tuple(found)
    return set_up(path, None)


def _folder(path: Path, set_up: SetUp, scratch: Path) -> list[Finding]:
    """KServe's folder, SageMaker's, Vertex AI's, MLflow's, an archive that is one, or a store."""
    config = path / "config" / "config.properties"
    if config.is_file() and (path / "model-store").is_dir():
        return list(set_up(config, path / "model-store"))
    if (path / MANIFEST).exists():
        return _archive(path, scratch)
    if (path / MLMODEL).is_file():
        return _mlflow(path, scratch)
    found: list[Finding] = []
    for name in sorted(entry.name for entry in path.iterdir() if _DOCKERFILE.search(entry.name)):
        found += examine_dockerfile(path / name, scratch / name)
    if (path / _VERTEX).is_file():
        why = "served as `model` where AIP_STORAGE_URI names this folder"
        found.append(Finding(path.name, f"Vertex AI's {_VERTEX}", Verdict.WORKS, why))
    archives = [name for name in stored_names(path) if name.endswith(SUFFIXES)]
    for name in archives:
        found += _archive(path / name, scratch / name)
    if not archives:
        found += _of_sagemaker(path.name, path)
    if found:
        return found
    why = "no archive, configuration, Dockerfile or model of MLflow's, SageMaker's or Vertex AI's is in it"
    return [Finding(str(path), "folder", Verdict.UNKNOWN, why)]


def _archive(path: Path, scratch: Path) -> list[Finding]:
    return examine_archive(path, examine_properties("", "", {})[1], scratch / _UNPACKED)


def _of_sagemaker(place: str, folder: Path) -> list[Finding]:
    """What becomes of a model of SageMaker's; nothing if there is none in that folder."""
    script = script_in(folder)
    weights = [one for one in sorted(folder.iterdir()) if one.suffix in (".pt", ".pth")]
    if not script and not weights:
        return []
    checks = _sagemaker(folder, script, weights, examine_properties("", "", {})[1])
    return [Finding(place, what, verdict, why) for what, verdict, why in checks]


def _mlflow(path: Path, scratch: Path) -> list[Finding]:
    """A model's folder of MLflow's: what becomes of the archive that the archiver makes of it."""
    what = "MLflow's model"
    scratch.mkdir(exist_ok=True)
    flags: dict[str, Any] = {"handler": None, "version": None, "from_mlflow": str(path)}
    config = ModelArchiverConfig("model", export_path=str(scratch), archive_format="no-archive", **flags)
    try:
        made = archive_model(config)
    except ModelArchiverError as error:
        return [Finding(path.name, what, Verdict.BROKEN, str(error))]
    why = f"torch-model-archiver --from-mlflow {path.name} makes an archive of it, which needs no MLflow"
    found = [one for one in _archive(made, scratch) if one.what != "archive"]
    return [Finding(path.name, what, Verdict.WORKS, why), *(replace(one, place=path.name) for one in found)]


def _sagemaker(
    path: Path, script: Path | None, weights: list[Path], setup: Configured
) -> Iterator[tuple[str, Verdict, str]]:
    """A model folder of SageMaker's, as the built-in handler `sagemaker` reads it."""
    if script is None:
        try:
            model = weights_in(path)
            if scan_file(model).kind is not PickleKind.TORCHSCRIPT:
                raise ValueError(
                    f"{model.name} is no TorchScript file, and there is no code/{SCRIPT} with a model_fn"
                )
        except ValueError as error:
            yield "SageMaker's model", Verdict.BROKEN, str(error)
        else:
            yield "SageMaker's model", Verdict.WORKS, f"{model.name} by the handler sagemaker"
        return
    name = script.relative_to(path).as_posix()
    try:
        defined = parse_source(script.read_bytes()).functions
    except ValueError as error:
        yield name, *unread(error)
        return
    try:
        check_functions(name, defined)
        yield "SageMaker's model", Verdict.WORKS, f"{name} by the handler sagemaker"
    except ValueError as error:
        yield name, Verdict.BROKEN, str(error)
    listed = script.parent / "requirements.txt"
    requirements = listed.relative_to(path).as_posix() if listed.is_file() else None
    if requirements:
        why = "SageMaker's toolkit installs them; without it, do so in the image"
        yield requirements, Verdict.CHANGED, why
        setup = replace(setup, install_py_dep_per_model=True)
    manifest = Manifest(None, "1.0", "sagemaker", None, None, None, requirements, "python")
    archive = Archive(path, manifest, {})
    yield from examine_imports({script: ""}, None, (script.parent, path), archive, setup)
    yield from examine_weights(archive, script)
