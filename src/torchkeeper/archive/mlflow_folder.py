"""A folder in which MLflow saved a model, as the archiver's inputs.

Source of the layout: MLflow 1 to 3, flavor pytorch. The model's file and its extra files lie at the archive's
top, where handlers written for TorchServe look for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torchkeeper.wire.advice import package_in
from torchkeeper.wire.mlmodel import MLMODEL, PICKLED_BY, Mlmodel, read_mlmodel
from torchkeeper.wire.yaml_text import read_yaml

#: The model's file in the folder of its data.
_FILES = ("model.pth", "model.pt2")
_REQUIREMENTS, _CONSTRAINTS, _CONDA = "requirements.txt", "constraints.txt", "conda.yaml"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
#: Packages that the server has, and those that a model needs only if its code says so.
_SERVERS, _MLFLOW = ("torch",), ("mlflow", "mlflow-skinny")
_USES_MLFLOW = re.compile(r"^\s*(?:import|from)\s+mlflow\b", re.MULTILINE)


@dataclass(frozen=True)
class MlflowFolder:
    """A model's folder: where it is, what MLflow says of it, and its file."""

    path: Path
    described: Mlmodel
    serialized: Path


def open_folder(text: str) -> MlflowFolder:
    """The folder that a path or a file:// URI names.

    Raises:
        ValueError: it is none, or of a model that is not served; the message says what to do.
    """
    path = _local(text)
    if not (path / MLMODEL).is_file():
        inner = sorted(one.parent.name for one in path.glob(f"*/{MLMODEL}"))
        hint = f"; there is one in {', '.join(inner)}" if inner else ""
        raise ValueError(f"no {MLMODEL} is in {path}{hint}")
    described = read_mlmodel((path / MLMODEL).read_bytes())
    data = path / described.data
    found = [data] if data.is_file() else [data / name for name in _FILES if (data / name).is_file()]
    if not found:
        raise ValueError(f"neither {' nor '.join(_FILES)} is in {data}")
    return MlflowFolder(path, described, found[0])


def _local(text: str) -> Path:
    if text.startswith("file:"):
        return Path(unquote(urlsplit(text).path))
    if _SCHEME.match(text):
        raise ValueError(
            f"{text} is not on this machine: download it first by "
            f"`mlflow artifacts download --artifact-uri {text} --dst-path FOLDER`"
        )
    return Path(text)


def stage(folder: MlflowFolder, scratch: Path, further: Path | None) -> tuple[Path, Path | None]:
    """Makes the archiver's other inputs in `scratch`, a folder of its own.

    Returns:
        The folder of all that the archive holds at its top besides the model's file; and the requirements,
        with those of the file `further`, if there are any.

    Raises:
        ValueError: a file that MLmodel names is missing, or two have one name.
    """
    top = scratch / "top"
    for name, path in _at_the_top(folder).items():
        if not path.exists():
            raise ValueError(f"{path} is not there, and {MLMODEL} names it")
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).symlink_to(path.resolve())
    lines = requirements(folder)
    if further is not None:
        lines += further.read_text(encoding="utf-8").splitlines()
    listed = scratch / _REQUIREMENTS
    listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return top, listed if lines else None


def _at_the_top(folder: MlflowFolder) -> dict[str, Path]:
    described = folder.described
    wanted = {MLMODEL: folder.path / MLMODEL}
    if described.code:
        wanted[described.code] = folder.path / described.code
    for path in (folder.serialized.with_name(PICKLED_BY), folder.path / _CONSTRAINTS):
        if path.is_file():
            wanted[path.name] = path
    for name in described.extra_files:
        path = folder.path / name
        if path.name in (*wanted, folder.serialized.name):
            raise ValueError(f"{name} would have the name of another file in the archive; rename it")
        wanted[path.name] = path
    return wanted


def requirements(folder: MlflowFolder) -> list[str]:
    """The lines of the model's requirements, but for what the server brings and what nothing here uses."""
    left_out = _SERVERS if _uses_mlflow(folder) else (*_SERVERS, *_MLFLOW)
    return [line for line in _listed(folder) if package_in(line) not in left_out]


def _listed(folder: MlflowFolder) -> list[str]:
    """What MLflow listed; its first versions did so for conda only."""
    for name in (folder.described.requirements, _REQUIREMENTS):
        if name and (folder.path / name).is_file():
            text = (folder.path / name).read_text(encoding="utf-8")
            return [line for line in text.splitlines() if line.strip()]
    conda = folder.path / _CONDA
    return list(_of_conda(read_yaml(conda.read_bytes()))) if conda.is_file() else []


def _of_conda(found: object) -> Iterator[str]:
    entries = found.get("dependencies") if isinstance(found, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            yield from map(str, entry["pip"])


def _uses_mlflow(folder: MlflowFolder) -> bool:
    code = folder.described.code
    sources = (folder.path / code).rglob("*.py") if code else ()
    return any(_USES_MLFLOW.search(one.read_text(encoding="utf-8", errors="replace")) for one in sources)
