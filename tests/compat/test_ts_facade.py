"""The façade `ts`: every promised name is the object of its home and takes TorchServe's parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import torchkeeper
import ts

SURFACE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "surface.json").read_text())
ROOT = Path(ts.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [(module, name) for module, names in SURFACE.items() for name in names]

#: Modules that must not cost their importer torch.
LIGHT = ["ts", "ts.context", "ts.utils.util", "ts.utils.timeit_decorator", "ts.handler_utils.utils"]
LIGHT += [module for module in SURFACE if module.startswith("ts.metrics.")]
LIGHT += [module for module in SURFACE if ".request_envelope." in module]


PREFIXES: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def module_name(path: Path) -> str:
    parts = ["ts", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parameters(function: Any) -> list[str]:
    """As record_surface.py writes them."""
    written = []
    for one in inspect.signature(function).parameters.values():
        prefix = PREFIXES.get(one.kind, "")
        plain = isinstance(one.default, str | int | float | bool | None)
        default = repr(one.default) if plain else "..."
        written.append(prefix + one.name + ("" if one.default is inspect.Parameter.empty else f"={default}"))
    return written


def test_version_is_torchserves() -> None:
    assert ts.__version__ == torchkeeper.TORCHSERVE_VERSION == "0.12.0"


def test_the_facade_holds_the_promised_modules_and_no_others() -> None:
    listed = {module_name(path) for path in FILES if "from torchkeeper" in path.read_text()}
    assert listed == {*SURFACE, "ts.version"}


@pytest.mark.parametrize("module", SURFACE)
def test_a_module_holds_the_promised_names_and_no_others(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(SURFACE[module])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_name_is_the_object_of_its_home(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    home = getattr(found, "__module__", None)
    if home is None or not home.startswith("torchkeeper"):
        home = "torchkeeper.handler.helpers"  # a constant does not know where it lives
    assert getattr(importlib.import_module(home), name) is found


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_parameters_are_torchserves(module: str, name: str) -> None:
    found, fact = getattr(importlib.import_module(module), name), SURFACE[module][name]
    if isinstance(fact, list):
        ours = parameters(found)
        # One object at two places of TorchServe's: what may be left out at one may be left out at both.
        assert fact in (ours, [one.removesuffix("=None") for one in ours])
    for method, expected in (fact if isinstance(fact, dict) else {}).items():
        ours = inspect.getattr_static(found, method, None) or getattr(found, method, None)
        if isinstance(ours, property) or (ours is None and expected == ["self"]):
            assert hasattr(found, method) or method in vars(_example(found)), method
            continue
        if method == "__init__" and issubclass(found, Exception) and "__init__" not in vars(found):
            assert expected == ["self", "message"]  # what any exception takes
            continue
        assert parameters(getattr(found, method)) == expected, f"{name}.{method}"


def _example(cls: type) -> Any:
    """An object of a class whose TorchServe properties are plain attributes here."""
    assert cls.__name__ == "Context"
    return cls("m", "/", {}, 1, None, "0.12.0")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_a_docstring_imports_and_all_only(path: Path) -> None:
    first, *rest = ast.parse(path.read_text()).body
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    for node in rest:
        if isinstance(node, ast.Assign):
            assert [ast.unparse(target) for target in node.targets] == ["__all__"]
            continue
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        homes = ("torchkeeper.handler", "torchkeeper.envelope", "torchkeeper.metrics", "torchkeeper.testing")
        assert node.module in ("torchkeeper", "ts.version") or node.module.startswith(homes)


def test_light_modules_do_not_import_torch() -> None:
    code = f"import sys\nfor name in {LIGHT}: __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "module", ["ts.service", "ts.model_loader", "ts.model_service_worker", "ts.arg_parser"]
)
def test_server_internals_are_not_shipped(module: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module)
