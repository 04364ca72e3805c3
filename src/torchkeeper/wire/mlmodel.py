"""MLmodel: the file by which MLflow describes a model that it saved.

The archiver, `torchkeeper doctor` and the workers read it. Pure. Source of keys and forms: MLflow 1 to 3.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from torchkeeper.wire.yaml_text import read_yaml

#: The file's name.
MLMODEL = "MLmodel"
#: The built-in handler that serves what it describes.
HANDLER = "mlflow"
#: The file beside a pickled model that names the module it was pickled with.
PICKLED_BY = "pickle_module_info.txt"
#: The one flavor that is served, and what every model has besides.
_FLAVOR, _EVERYBODYS = "pytorch", "python_function"
#: A parameter by which requests chose the model's device in MLflow 2; the server does that.
_DEVICE = "device"


@dataclass(frozen=True)
class ColumnInput:
    """A column that a model takes, of one of MLflow's types."""

    name: str | None
    kind: str
    required: bool = True


@dataclass(frozen=True)
class TensorInput:
    """A tensor that a model takes: its type as numpy names it, and its shape; -1 is any length."""

    name: str | None
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ScoringParam:
    """What a request may say besides the data, of one of MLflow's types; `many`: a list of those."""

    name: str
    kind: str
    default: Any
    many: bool = False


@dataclass(frozen=True)
class Mlmodel:
    """What the file says of a PyTorch model. Paths are relative to its folder."""

    #: The folder with the model's file, or that file.
    data: str
    #: The folder that goes on the import path.
    code: str | None = None
    extra_files: tuple[str, ...] = ()
    #: Named by MLflow 1 only.
    requirements: str | None = None
    torch_version: str | None = None
    #: One of the two is empty; both: the file has no signature.
    columns: tuple[ColumnInput, ...] = ()
    tensors: tuple[TensorInput, ...] = ()
    params: tuple[ScoringParam, ...] = ()


def read_mlmodel(text: str | bytes) -> Mlmodel:
    """What a file's text says.

    Raises:
        ValueError: it is no MLmodel, or not of a PyTorch model; the message says what to do.
    """
    try:
        found = read_yaml(text)
    except ValueError as error:
        raise ValueError(f"{MLMODEL} is no YAML: {error}") from None
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(flavors, dict):
        raise ValueError(f"{MLMODEL} has no mapping `flavors`")
    flavor = flavors.get(_FLAVOR)
    if not isinstance(flavor, dict):
        raise ValueError(_other_flavors(flavors))
    try:
        return Mlmodel(
            data=_inside(flavor.get("model_data") or "data"),
            code=_inside(flavor["code"]) if flavor.get("code") else None,
            extra_files=tuple(_inside(one["path"]) for one in flavor.get("extra_files") or ()),
            requirements=_inside(flavor["requirements_file"]["path"])
            if flavor.get("requirements_file")
            else None,
            torch_version=str(flavor["pytorch_version"]) if flavor.get("pytorch_version") else None,
            **_signature(found.get("signature") or {}),
        )
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{MLMODEL} is not as MLflow writes it: {error!r}") from None


def _other_flavors(flavors: Mapping[Any, Any]) -> str:
    names = ", ".join(str(name) for name in flavors if name != _EVERYBODYS) or ", ".join(map(str, flavors))
    return (
        f"{MLMODEL} has the flavors {names or 'none'}, and only models of the flavor {_FLAVOR} are served: "
        "log the model with mlflow.pytorch, serve it by `mlflow models serve`, or archive its files with a "
        "handler of your own (--handler, --extra-files)"
    )


def _inside(path: Any) -> str:
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts:
        raise ValueError(f"{MLMODEL} names {path}, which is outside its folder")
    return str(found)


# --- the signature ---------------------------------------------------------------------------------------


def _signature(given: Any) -> dict[str, Any]:
    inputs = _listed(given.get("inputs"))
    tensors = [one for one in inputs if one["type"] == "tensor"]
    if tensors and len(tensors) < len(inputs):
        raise ValueError(f"{MLMODEL}: the signature's inputs are neither all columns nor all tensors")
    return {
        "tensors": tuple(map(_tensor, tensors)),
        "columns": () if tensors else tuple(map(_column, inputs)),
        "params": tuple(_params(_listed(given.get("params")))),
    }


def _listed(given: Any) -> list[dict[str, Any]]:
    """A list that is JSON text in the file."""
    try:
        found: list[dict[str, Any]] = json.loads(given) if isinstance(given, str) else given or []
    except ValueError as error:
        raise ValueError(f"{MLMODEL}: the signature is no JSON: {error}") from None
    return found


def _tensor(given: dict[str, Any]) -> TensorInput:
    spec = given["tensor-spec"]
    return TensorInput(given.get("name"), str(spec["dtype"]), tuple(map(operator.index, spec["shape"])))


def _column(given: dict[str, Any]) -> ColumnInput:
    return ColumnInput(given.get("name"), str(given["type"]), given.get("required") is not False)


def _params(given: list[dict[str, Any]]) -> Iterator[ScoringParam]:
    for one in given:
        kind = one.get("type") or one["dtype"]
        if one["name"] != _DEVICE:
            yield ScoringParam(str(one["name"]), str(kind), one["default"], one.get("shape") is not None)
