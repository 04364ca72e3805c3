"""Reads exported programs (torch.export.save), and what AOTInductor compiles: packages and older libraries.

All become a ServedModel. What is compiled is machine code, and a program may bring operators and pickled
constants: they are read in workers only. Compiled models are always told to check their inputs, because
without that they read memory that is not there where a shape does not fit.
"""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.export
from torch.utils import _pytree as pytree

from torchkeeper.handler.formats import LIBRARY_ENDS
from torchkeeper.handler.learned_bounds import LearningModel
from torchkeeper.handler.package_checks import UNBOUNDED, input_checks
from torchkeeper.handler.ports import Port, Size, fixed, numbered
from torchkeeper.handler.safe_text import first_sentence
from torchkeeper.handler.served_model import ServedModel, datatype_of
from torchkeeper.machine.scratch import new_folder

logger = logging.getLogger(__name__)

#: Part of the names of what a package holds.
_PACKAGED = "/data/aotinductor/"
#: The name that `aoti_compile_and_package` gives a model.
_MODEL = "model"
#: Makes packages check their inputs; set by the user, it holds.
_CHECK = "AOTI_RUNTIME_CHECK_INPUTS"
#: Where a package keeps the names of its inputs, which torch itself leaves out: with commas between them.
INPUT_NAMES = "input_names"


def read_pt2(path: Path, device: torch.device) -> ServedModel:
    """The model of a .pt2 file on `device`.

    Raises:
        RuntimeError: it is none that can run here; the message says why.
    """
    try:
        with zipfile.ZipFile(path) as file:
            packaged = any(_PACKAGED in name for name in file.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise RuntimeError(f"{path.name} is no .pt2 file ({error})") from error
    return read_package(path, device) if packaged else read_program(path, device)


# --- exported programs -----------------------------------------------------------------------------------


def read_program(path: Path, device: torch.device) -> ServedModel:
    """The model of an exported program.

    Raises:
        RuntimeError: the file cannot be read, or needs operators that are not registered.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise RuntimeError(
            f"{path.name} is no exported program that can be loaded here ({first_sentence(error, 200)}); "
            "write one with torch.export.save. Operators of your own must be registered before: "
            "by a handler's import"
        ) from error
    if device.type != "cpu":
        passes = importlib.import_module("torch.export.passes")  # torch has it since 2.7
        program = passes.move_to_device_pass(program, device)
    names, template = _user_inputs(program)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    inputs = [_program_port(name, values[name], ranges) for name in names]
    given = [getattr(spec.arg, "name", None) for spec in _user_specs(program.graph_signature.output_specs)]
    outputs = [
        _program_port(name, values[node], ranges)
        for name, node in zip(_output_names(program.call_spec.out_spec), given, strict=True)
        if isinstance(values.get(node), torch.Tensor)
    ]
    module = program.module()
    in_spec = program.call_spec.in_spec

    def run(tensors: list[torch.Tensor]) -> Any:
        left = iter(tensors)
        flat = [next(left) if tensor else value for tensor, value in template]
        args, kwargs = pytree.tree_unflatten(flat, in_spec)
        return module(*args, **kwargs)

    return ServedModel(run, inputs, outputs)


def _user_specs(specs: Any) -> list[Any]:
    return [spec for spec in specs if spec.kind.name in ("USER_INPUT", "USER_OUTPUT")]


def _user_inputs(program: Any) -> tuple[list[str], list[tuple[bool, Any]]]:
    """The names of the tensors that a program takes, and for each argument (is a tensor, else its value)."""
    names, template = [], []
    for spec in _user_specs(program.graph_signature.input_specs):
        constant = not hasattr(spec.arg, "name") or hasattr(spec.arg, "value")
        template.append((not constant, getattr(spec.arg, "value", None)))
        if not constant:
            names.append(spec.arg.name)
    return names, template


def _program_port(name: str, value: torch.Tensor, ranges: dict[str, Any]) -> Port:
    sizes = []
    for length in value.shape:
        if isinstance(length, int):
            sizes.append(fixed(length))
            continue
        symbol = str(length.node.expr)
        bounds = ranges.get(symbol)
        low, high = (0, None) if bounds is None else (int(bounds.lower), _bound(bounds.upper))
        sizes.append(Size(low, high, symbol))
    return Port(name, datatype_of(value), tuple(sizes))


def _bound(upper: object) -> int | None:
    """A bound as a number; None for infinity in each of its forms."""
    text = str(upper)
    return int(text) if text.isdigit() and int(text) < UNBOUNDED else None


def _output_names(spec: Any) -> list[str]:
    """The names of a structure's leaves: the keys of a plain dict, else their numbers."""
    if spec.type is dict and all(child.is_leaf() for child in spec.children()):
        return [str(key) for key in spec.context]
    return numbered("output", [None] * spec.num_leaves)


# --- AOTInductor's packages ------------------------------------------------------------------------------


def read_package(path: Path, device: torch.device) -> ServedModel:
    """The model of an AOTInductor package.

    Raises:
        RuntimeError: torch is too old, or the package is for another device or machine.
    """
    loader_class = getattr(getattr(torch._C, "_aoti", None), "AOTIModelPackageLoader", None)
    if loader_class is None:
        raise RuntimeError(
            f"{path.name} is an AOTInductor package, which torch {torch.__version__} cannot load"
        )
    about = _package_metadata(path)
    wanted = about.get("AOTI_DEVICE_KEY") or "cpu"
    if wanted not in ("cpu", device.type):
        raise RuntimeError(
            f"{path.name} was compiled for {wanted}, and this worker computes on {device.type}; "
            "compile it for that"
        )
    os.environ.setdefault(_CHECK, "1")
    index = device.index if wanted != "cpu" and device.index is not None else -1
    try:
        with _unpacked(keep=wanted != "cpu"):
            loader = loader_class(str(path), _MODEL, False, 1, index)
    except RuntimeError as error:
        raise RuntimeError(f"{path.name} cannot be loaded ({first_sentence(error, 200)})") from error
    place = torch.device("cpu") if wanted == "cpu" else device
    return _compiled_model(loader, place, _member(path, ".wrapper.cpp"), about.get(INPUT_NAMES))


def read_library(path: Path, device: torch.device) -> ServedModel:
    """The model of a shared library, which AOTInductor made before there were packages.

    It does not say what it takes; it checks that for itself, and so the model learns it.

    Raises:
        RuntimeError: it is none that can run here.
    """
    logger.warning("%s is %s", path.name, LIBRARY_ENDS)
    runners = getattr(torch._C, "_aoti", None)
    name, place = ("Cpu", ()) if device.type == "cpu" else (device.type.capitalize(), (str(device),))
    os.environ.setdefault(_CHECK, "1")
    try:
        runner = getattr(runners, f"AOTIModelContainerRunner{name}")(str(path), 1, *place)
        return _compiled_model(runner, device, made=LearningModel)
    except (AttributeError, RuntimeError) as error:
        raise RuntimeError(
            f"{path.name} is no library of torch._export.aot_compile that runs here "
            f"({first_sentence(error, 200)})"
        ) from error


def _compiled_model(
    runner: Any,
    place: torch.device,
    source: str = "",
    names: str | None = None,
    made: type[ServedModel] = ServedModel,
) -> ServedModel:
    """The model that a runner of torch's computes, on `place`."""
    in_spec, out_spec = map(pytree.treespec_loads, runner.get_call_spec())
    outputs = [Port(name) for name in _output_names(out_spec)]
    compute = getattr(runner, "boxed_run", runner.run)

    def run(tensors: list[torch.Tensor]) -> Any:
        found = compute([tensor.to(place).contiguous() for tensor in tensors])
        return pytree.tree_unflatten(found, out_spec)

    return made(run, _package_inputs(source, in_spec, names), outputs)


def _package_metadata(path: Path) -> dict[str, Any]:
    """What the compiler wrote of the machine it compiled for."""
    text = _member(path, "_metadata.json")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _package_inputs(source: str, in_spec: Any, told: str | None) -> list[Port]:
    """A package's inputs: names as told, or from the call's structure; the rest from checks in its source."""
    args, kwargs = in_spec.children()
    flat = kwargs.num_leaves == len(kwargs.context)
    keys = [str(key) for key in kwargs.context] if flat else [None] * kwargs.num_leaves
    names = numbered("input", [*([None] * args.num_leaves), *keys])
    known = told.split(",") if isinstance(told, str) else []
    if len(known) == len(set(known)) == len(names):
        names = known
    checks = input_checks(source)
    if len(checks) != len(names):
        return [Port(name) for name in names]
    for name, check in zip(names, checks, strict=True):
        for place in check.untold:
            logger.warning(
                "The package does not say how dimension %d of %s depends on others: nothing is refused for "
                "a length that does not fit them",
                *(place, name),
            )
    return [Port(name, check.datatype, check.sizes) for name, check in zip(names, checks, strict=True)]


def _member(path: Path, ending: str) -> str:
    """The text of a package's first file of that ending; empty if there is none."""
    with zipfile.ZipFile(path) as file:
        name = next((name for name in file.namelist() if _PACKAGED in name and name.endswith(ending)), None)
        return file.read(name).decode(errors="replace") if name else ""


@contextmanager
def _unpacked(*, keep: bool) -> Iterator[None]:
    """Where the loader unpacks a package, which it leaves to others to remove.

    On the CPU all is mapped once it is loaded; a GPU's kernels are read when they are first used.
    """
    folder = new_folder("aoti-")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        if keep:
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
