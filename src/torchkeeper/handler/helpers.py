"""Small torch-free helpers that TorchServe's handlers import from `ts.utils` and `ts.handler_utils`.

Owns no state. Sources: `ts.utils.util`, `ts.utils.timeit_decorator` and `ts.handler_utils.utils` of 0.12.
"""

from __future__ import annotations

import enum
import functools
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import yaml

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

#: Modules that torch's own packages bring, and that TorchServe's images have -> what to install for them.
PACKAGES = {
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "torch_tensorrt": "torch-tensorrt",
    "captum": "captum",
}

#: Mark-up and character references, as text handlers strip them.
CLEANUP_REGEX = re.compile(r"<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")


class PT2Backend(enum.StrEnum):
    """Backends of torch.compile that model-config.yaml may name."""

    EAGER = "eager"
    AOT_EAGER = "aot_eager"
    INDUCTOR = "inductor"
    NVFUSER = "nvfuser"
    AOT_NVFUSER = "aot_nvfuser"
    AOT_CUDAGRAPHS = "aot_cudagraphs"
    OFI = "ofi"
    FX2TRT = "fx2trt"
    ONNXRT = "onnxrt"
    IPEX = "ipex"
    TORCHXLA_TRACE_ONCE = "torchxla_trace_once"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    HPU_BACKEND = "hpu_backend"


def check_valid_pt2_backend(backend: str) -> bool:
    """Whether model-config.yaml may name this backend; a warning in the log when not."""
    if backend in {member.value for member in PT2Backend}:
        return True
    logger.warning("%s is not a supported backend", backend)
    return False


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type]:
    """The classes that a module defines itself (imported ones do not count), by name.

    Args:
        parent_class: only classes derived from it.
    """
    own = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
    return own if parent_class is None else [cls for cls in own if issubclass(cls, parent_class)]


def import_file(path: Path) -> ModuleType:
    """Imports a Python file, or a package's `__init__.py`, under its own name, also where another module of
    that name was imported before.

    Raises:
        ImportError: it is no Python file.
        ModuleNotFoundError: it needs one of PACKAGES; the message says what to install.
    """
    name = path.parent.name if path.stem == "__init__" else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in PACKAGES:
            raise
        text = f"{path.name} needs {missing}, which is not installed here: pip install {PACKAGES[missing]}"
        raise ModuleNotFoundError(text, name=error.name) from error
    return module


def import_class(class_name: str, module_prefix: str | None = None) -> type:
    """The class of a dotted name, below `module_prefix` if given.

    Raises:
        ImportError: no such module or class; the message names it.
    """
    dotted = f"{module_prefix}.{class_name}" if module_prefix else class_name
    module_name, _, attribute = dotted.rpartition(".")
    if not module_name:
        raise ImportError(f"{class_name!r} names no module: write module.Class")
    found = getattr(importlib.import_module(module_name), attribute, None)
    if not isinstance(found, type):
        raise ImportError(f"module {module_name} has no class {attribute}")
    return found


def get_yaml_config(yaml_file_path: str | Path) -> dict[str, Any]:
    """A YAML file's top-level mapping ({} for an empty file)."""
    config: dict[str, Any] | None = yaml.safe_load(Path(yaml_file_path).read_text(encoding="utf-8"))
    return config or {}


def deprecated(
    version: str, replacement: str = "", klass: type[Warning] = PendingDeprecationWarning
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: calling the function warns that it goes away in `version` and what replaces it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warn_and_call(*args: P.args, **kwargs: P.kwargs) -> R:
            text = f"{function.__name__} is deprecated in {version} and moved to {replacement}"
            warnings.warn(text, klass, stacklevel=2)
            return function(*args, **kwargs)

        return warn_and_call

    return decorate


def timeit(func: Callable[P, R]) -> Callable[P, R]:
    """Decorator: prints how long each call took, wall clock and processor time in seconds."""

    @functools.wraps(func)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        wall, processor = time.perf_counter(), time.process_time()
        result = func(*args, **kwargs)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        times = f"{wall:2.4f} sec to run and {processor:2.4f} sec of CPU time"
        print(f"func: {func.__name__!r} took a total of {times}")
        return result

    return measured
