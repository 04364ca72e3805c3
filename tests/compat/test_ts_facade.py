"""The import names of TorchServe and its archiver: all there, or left out with a reason."""

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

import model_archiver
import torchkeeper
import ts
from torchkeeper.handler.left_out import why_left_out

SURFACE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "surface.json").read_text())
KEPT = {module: names for module, names in SURFACE.items() if why_left_out(module) is None}
NAMES = [
    (module, name) for module, names in KEPT.items() for name in names if not why_left_out(f"{module}.{name}")
]
LEFT_OUT = [
    *((module, None) for module in SURFACE if module not in KEPT),
    *((module, name) for module, names in KEPT.items() for name in names if (module, name) not in NAMES),
]
SRC = Path(ts.__file__).parents[1]
FILES = sorted([*(SRC / "ts").rglob("*.py"), *(SRC / "model_archiver").rglob("*.py")])

#: Modules that must not cost their importer torch.
LIGHT = ["ts", "ts.context", "ts.utils.util", "ts.utils.timeit_decorator", "ts.handler_utils.utils"]
LIGHT += ["ts.service", "ts.launcher", "ts.model_server", "ts.protocol.otf_message_handler"]
LIGHT += [module for module in KEPT if module.startswith(("ts.metrics", "model_archiver"))]
LIGHT += [module for module in KEPT if ".request_envelope." in module]

PREFIXES: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
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


def takes(ours: list[str], expected: list[str]) -> bool:
    """Whether all calls that fit the expected parameters fit ours: some may be optional here, or more."""
    expected = [one for one in expected if one != "cls"]
    if len(ours) < len(expected) or not all("=" in one or one[0] == "*" for one in ours[len(expected) :]):
        return False
    for own, other in zip(ours, expected, strict=False):
        (name, _, default), (wanted, _, value) = own.partition("="), other.partition("=")
        same = default == value or not value or (value == "None" and default == "...")
        if name != wanted or not same:
            return False
    return True


def test_versions_are_torchserves() -> None:
    assert ts.__version__ == model_archiver.__version__ == torchkeeper.TORCHSERVE_VERSION == "0.12.0"


def test_every_module_is_there_and_no_other() -> None:
    assert {module_name(path) for path in FILES} == {*KEPT}


@pytest.mark.parametrize("module", KEPT)
def test_a_module_holds_the_promised_names_and_no_others(module: str) -> None:
    promised = sorted(name for where, name in NAMES if where == module)
    assert sorted(getattr(importlib.import_module(module), "__all__", ())) == promised


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_parameters_are_torchserves(module: str, name: str) -> None:
    found, fact = getattr(importlib.import_module(module), name), SURFACE[module][name]
    if isinstance(fact, list):
        assert takes(parameters(found), fact)
    for method, expected in (fact if isinstance(fact, dict) else {}).items():
        ours = inspect.getattr_static(found, method, None) or getattr(found, method, None)
        if isinstance(ours, property) or (ours is None and expected == ["self"]):
            assert hasattr(found, method) or method in vars(_example(found)), method
            continue
        if method == "__init__" and issubclass(found, Exception) and "__init__" not in vars(found):
            assert expected == ["self", "message"]  # what any exception takes
            continue
        assert takes(parameters(getattr(found, method)), expected), f"{name}.{method}"


def _example(cls: type) -> Any:
    """An object of a class whose TorchServe properties are plain attributes here."""
    assert cls.__name__ == "Context"
    return cls("m", "/", {}, 1, None, "0.12.0")


@pytest.mark.parametrize(("module", "name"), LEFT_OUT)
def test_what_is_left_out_says_so(module: str, name: str | None) -> None:
    statement = f"import {module}" if name is None else f"from {module} import {name}"
    with pytest.raises(ImportError) as raised:
        exec(statement)
    assert type(raised.value) is ImportError
    assert str(raised.value) == why_left_out(f"{module}.{name}" if name else module)


@pytest.mark.parametrize("statement", ["import ts.nonsense", "from ts.service import nonsense"])
def test_what_never_was_is_not_there(statement: str) -> None:
    with pytest.raises(ImportError, match=r"No module named 'ts.nonsense'|cannot import name 'nonsense'"):
        exec(statement)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_file_holds_a_docstring_and_imports_only(path: Path) -> None:
    first, *rest = ast.parse(path.read_text()).body
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    for node in rest:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.split(".")[0] in ("torchkeeper", "ts", "model_archiver")
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__getattr__":
            assert ast.unparse(node.value) == "_left_out.refusing(__name__)"
        elif isinstance(node, ast.Assign):
            assert [ast.unparse(target) for target in node.targets] == ["__all__"]
        elif isinstance(node, ast.If):
            assert ast.unparse(node.test) == "__name__ == '__main__'"
        else:
            assert (path.parent.name, ast.unparse(node)) == ("ts", "_left_out.install()")


def test_light_modules_do_not_import_torch() -> None:
    code = f"import sys\nfor name in {LIGHT}: __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "flag", "says"),
    [
        ("ts.model_server", "--version", "TorchServe Version is 0.12.0"),
        ("model_archiver.model_packaging", "--help", "usage: torch-model-archiver"),
    ],
)
def test_modules_that_were_commands_are_commands(module: str, flag: str, says: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, flag], capture_output=True, text=True, check=True)
    assert says in done.stdout
