"""Loads a model from an archive's files: a table from file suffix to loader.

Owns the rules of what may be loaded and the sentences for what may not; knows nothing of contexts or batches.
Weights are read with `weights_only=True`: an archive's weights are data, and data must not run code.
Source of the rules: TorchServe's BaseHandler; `.safetensors` is new here.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from torchkeeper.handler.assignment import assign, loads_as_usual
from torchkeeper.handler.exported import read_library, read_pt2
from torchkeeper.handler.formats import ENGINES, SAFE, TORCHSCRIPT_ENDS, engine_refusal
from torchkeeper.handler.helpers import PACKAGES, import_file, list_classes_from_module
from torchkeeper.handler.onnx_model import read_onnx
from torchkeeper.handler.postponed import Postponed
from torchkeeper.handler.safe_text import first_sentence

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")

StateDict = MutableMapping[str, Any]

#: Libraries of operators and classes that TorchScript may need -> the module that brings them.
OWNERS = {"torchvision": "torchvision", "torchaudio": "torchaudio", "tensorrt": "torch_tensorrt"}

#: What torch says where an operator or a class of a library is not there.
_FOREIGN = re.compile(r"Unknown builtin op: (\w+)::|__torch__\.torch\.classes\.(\w+)\.")


def read_pickled_state(path: Path, device: torch.device, mapped: bool = False) -> StateDict:
    """The state dict of a file that torch.save wrote, its tensors on `device`.

    With `mapped` they are the file's own pages, if it has such: processes share them until one writes to
    them, which changes no file.

    Raises:
        RuntimeError: it holds more than tensors and plain containers, or is no such file.
    """
    try:
        state = torch.load(
            path, map_location=device, weights_only=True, mmap=mapped and _holds_plain_bytes(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise RuntimeError(f"{path.name} holds no plain state dict ({first_sentence(error, 200)})") from error
    if not isinstance(state, MutableMapping):
        raise RuntimeError(f"{path.name} holds a {type(state).__name__}, not a state dict (name -> tensor)")
    return state


def _holds_plain_bytes(path: Path) -> bool:
    """Whether it is a zip file, as torch.save writes it since 1.6, in which nothing is compressed."""
    try:
        with zipfile.ZipFile(path) as file:
            return all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
    except zipfile.BadZipFile:
        return False


def read_safetensors(path: Path, device: torch.device, mapped: bool = False) -> StateDict:
    """The state dict of a .safetensors file, its tensors on `device`; on the CPU always its own pages.

    Raises:
        RuntimeError: the package safetensors is missing, or the file is damaged.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise RuntimeError(f"{path.name} needs safetensors: pip install torchkeeper[torch]") from error
    try:
        state: StateDict = load_file(path, device=str(device))
    except SafetensorError as error:
        raise RuntimeError(f"{path.name} is no safetensors file ({first_sentence(error, 200)})") from error
    return state


def read_torchscript(path: Path, device: torch.device) -> Any:
    """A TorchScript module on `device`.

    Raises:
        RuntimeError: the file holds something else, or needs a package that is not here.
    """
    logger.warning("%s is %s", path.name, TORCHSCRIPT_ENDS)
    try:
        return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # untyped in torch
    except RuntimeError as error:
        if foreign := _FOREIGN.search(str(error)):
            _import_owner(path, foreign[1] or foreign[2], error)
            return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # untyped in torch
        raise RuntimeError(
            f"{path.name} is no TorchScript file ({first_sentence(error, 200)}); "
            "a state dict needs its model's source too: archive it with --model-file"
        ) from error


def _import_owner(path: Path, library: str, error: RuntimeError) -> None:
    """Imports the package that brings a library of operators, which it registers.

    Raises:
        RuntimeError: it is not here, or not known.
    """
    module = OWNERS.get(library)
    if module is None or sys.modules.get(module) is not None:
        raise RuntimeError(
            f"{path.name} needs {library}'s operators, which nothing here brings "
            f"({first_sentence(error, 200)}); import their package in a handler of your own"
        ) from error
    try:
        importlib.import_module(module)
    except Exception as missing:
        raise RuntimeError(
            f"{path.name} needs {module}, which cannot be imported here ({first_sentence(missing, 200)}): "
            f"pip install {PACKAGES[module]}"
        ) from missing


#: Suffix -> reader of a state dict; other suffixes are torch.save's.
STATE_READERS: dict[str, Callable[[Path, torch.device, bool], StateDict]] = {SAFE: read_safetensors}

#: Suffix -> reader of a whole model, for archives without a model file.
MODEL_READERS: dict[str, Callable[[Path, torch.device], Any]] = {
    ".pt": read_torchscript,
    ".onnx": read_onnx,
    ".so": read_library,
    ".pt2": read_pt2,
}


def load_whole(path: Path | None, device: torch.device) -> Any:
    """The model of a serialized file that needs no source.

    Raises:
        RuntimeError: no file, or none that can be read; the message says what to do.
    """
    if path is None:
        raise RuntimeError(
            "No model weights could be loaded: the archive names neither a model file nor a serialized file; "
            "a handler that needs none must override initialize"
        )
    if path.suffix in ENGINES:
        raise RuntimeError(engine_refusal(path.name))
    reader = MODEL_READERS.get(path.suffix)
    if reader is None:
        known = ", ".join(sorted(MODEL_READERS))
        raise RuntimeError(
            f"No model weights could be loaded from {path.name}: without --model-file its suffix must be "
            f"one of {known}"
        )
    return reader(path, device)


def load_eager(
    source: Path, weights: Path | None, device: torch.device, *, mapped: bool = False
) -> torch.nn.Module:
    """The model that `source` defines, with the weights' values if there are any (not yet on `device`).

    Args:
        source: a Python file that defines exactly one model class, made without arguments.
        weights: a state dict; None leaves the class's own initial values.
        device: where the model will be.
        mapped: nobody changes the file of the weights while the model is used, so that its pages may be the
            model's memory.

    Raises:
        RuntimeError: `source` is missing, or the weights do not fit the class.
        ImportError: `source` is no Python file.
        ValueError: `source` does not define exactly one class.
    """
    if not source.is_file():
        raise RuntimeError(f"Missing the model.py file: {source}")
    make = _model_class(model_module(source))
    if weights is None:
        return make()
    with Postponed() as postponed:
        model = make()
    usual = loads_as_usual(model)
    postponed.settle(model.parameters() if usual else ())
    reader = STATE_READERS.get(weights.suffix, read_pickled_state)
    state = reader(weights, CPU if mapped else device, mapped)
    if mapped and usual:
        assign(model, state)
    model.load_state_dict(state)
    return model


def model_module(source: Path) -> ModuleType:
    """The module of a model's file, imported once.

    Raises:
        ImportError: it is no Python file.
        Exception: whatever it raises.
    """
    known = sys.modules.get(source.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == source.resolve():
        return known
    return import_file(source)


def _model_class(module: ModuleType) -> Callable[[], torch.nn.Module]:
    classes = list_classes_from_module(module)
    if len(classes) > 1:
        classes = list_classes_from_module(module, torch.nn.Module)
    if len(classes) != 1:
        raise ValueError(
            f"Expected only one class as model definition. {classes} in {module.__name__}.py; "
            "keep one torch.nn.Module there and import the others from a file of --extra-files"
        )
    return classes[0]
