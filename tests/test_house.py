"""The border rules: who may import whom, no cycles, who may read the environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from torchkeeper.config import types as setting_types
from torchkeeper.envelope.envelope import ENVELOPES

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "torchkeeper"

FRONT = (
    "cli",
    "launcher",
    "keys.key_file",
    "server",
    "http",
    "api",
    "engine",
    "rpc",
    "pool.process",
    "pool.launcher",
    "pool.orphans",
    "pool.template_link",
    "pool.pool",
    "metrics.front",
    "metrics.host",
)
WORKERS = ("worker.main", "worker.template", "worker.loader", "worker.service", "worker.replies", "handler")
PANTRY = (
    *(
        "wire.messages",
        "errors",
        "config.settings",
        "config.table",
        "config.properties",
        "config.model_config",
        "archive.archive",
    ),
    *(
        "config.types",
        "config.layers",
        "config.model_settings",
        "config.model_rules",
        "config.model_snapshot",
    ),
    *(
        "config.log_config",
        "logs.lines",
        "metrics.pace",
        "wire.raw_tensors",
        "api.sagemaker",
        "config.snapshot",
        "config.kserve_pod",
        "archive.store",
    ),
    *(
        "wire.frames",
        "pool.life",
        "worker.passes",
        "engine.batching",
        "api.body",
        "http.course",
        "http.head",
        "http.limits",
        "api.routes",
        "metrics.ledger",
    ),
    *("keys.tokens", "keys.throttle", "deadlines", "manifest.values", "manifest.pod"),
    *("manifest.kserve", "manifest.kubernetes"),
    *("metrics.catalogue", "metrics.cell", "metrics.java", "metrics.line", "metrics.registry"),
    *("metrics.text", "metrics.instruments", "metrics.intake"),
)
#: Modules that may read os.environ, and why.
ENVIRON = {
    "config.settings": "the one reader in the front",
    "handler.context": "TS_REQUEST_SEQUENCE_*, read inside a worker as TorchServe documents",
    "handler.base": "TS_IPEX_GPU_ENABLE, read inside a worker as TorchServe documents",
    "handler.streaming": "LOCAL_RANK, read inside a worker of a torchrun group",
    "handler.profile": "ENABLE_TORCH_PROFILER, read inside a worker as TorchServe documents",
}
#: Modules with imports inside functions, and why.
LATE = {
    "server": "gRPC is an extra",
    "cli": "a bad setting is answered before the server is imported",
    "archive.archiver": "progress bars are imported only where one is shown",
    "handler.weights": "loaders of formats that a model may not use",
    "handler.explain": "captum is an extra",
    "archive.s3": "boto3 is an extra",
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(names: set[str]) -> set[str]:
    stripped = {name.removeprefix("torchkeeper.") for name in names if name.startswith("torchkeeper.")}
    return stripped & set(MODULES)


def belongs(name: str, part: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in part)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if belongs(name, FRONT)))
def test_the_front_imports_neither_torch_nor_handlers(name: str) -> None:
    found = imports(MODULES[name])
    assert not {top for top in found if top.split(".")[0] in ("torch", "numpy", "PIL", "ts")}
    assert not {module for module in ours(found) if belongs(module, WORKERS)}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if belongs(name, WORKERS)))
def test_workers_never_import_the_front(name: str) -> None:
    assert not {module for module in ours(imports(MODULES[name])) if belongs(module, FRONT)}


@pytest.mark.parametrize("name", PANTRY)
def test_the_pantry_does_no_io(name: str) -> None:
    found = {top.split(".")[0] for top in imports(MODULES[name])}
    assert not found & {"socket", "asyncio", "torch", "subprocess", "uvloop"}


def test_the_settings_name_the_envelopes_that_there_are() -> None:
    assert set(setting_types.ENVELOPES) == set(ENVELOPES)


def test_there_are_no_import_cycles() -> None:
    graph = {name: ours(imports(tree)) - {name} for name, tree in MODULES.items()}
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph[name]:
                walk(other, (*path, name))
            done.add(name)

    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_stand_at_the_top_and_the_environment_has_one_reader(name: str) -> None:
    tree = MODULES[name]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = [
        node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not late or name in LATE
    reads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert not [node for node in reads if ast.unparse(node).startswith("os.")] or name in ENVIRON


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_stay_readable(name: str) -> None:
    path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
    path = path if path.exists() else PACKAGE.joinpath(*name.split("."), "__init__.py")
    assert len(path.read_text().splitlines()) <= 400
    assert name == "__init__" or ast.get_docstring(MODULES[name])


@pytest.mark.parametrize(
    "name", ["torchkeeper", "torchkeeper.cli", "torchkeeper.server", "torchkeeper.doctor"]
)
def test_a_fresh_import_loads_no_torch(name: str) -> None:
    probe = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], timeout=30).returncode == 0


@pytest.mark.parametrize("path", sorted((SRC / "model_archiver").rglob("*.py")), ids=lambda path: path.name)
def test_the_archivers_import_names_hold_no_logic(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign) for node in tree.body)
