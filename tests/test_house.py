"""The house: which folder may know which, no circles, who reads the environment, how large things get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from torchkeeper.config.model_settings import TABLE
from torchkeeper.config.types import ENVELOPES as KNOWN_ENVELOPES
from torchkeeper.engine.batching.policies import POLICIES
from torchkeeper.envelope.envelope import ENVELOPES

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "torchkeeper"
TESTS = Path(__file__).parent

#: What each folder (or loose module) may import, in the order of the floors: each only what stands above it
#: here. An import for type checkers is an import. One that nobody uses any more is struck out.
MAY_IMPORT: dict[str, set[str]] = {
    "deadlines": set(),
    "machine": set(),
    "wire": set(),
    "errors": {"wire"},
    "config": {"deadlines", "errors", "wire"},
    "ending": {"deadlines", "machine"},
    "handler": {"machine", "wire"},
    "sandbox": {"wire"},
    "pool": {"config", "deadlines", "errors", "machine", "sandbox", "wire"},
    "archive": {"config", "errors", "machine", "wire"},
    "client": {"config"},
    "envelope": {"handler", "wire"},
    "http": {"config", "errors"},
    "keys": {"config", "errors"},
    "manifest": {"config", "deadlines", "errors"},
    "metrics": {"config", "machine", "wire"},
    "doctor": {"archive", "config", "errors", "handler", "machine", "wire"},
    "export": {"archive", "config", "errors", "handler", "wire"},
    "tune": {"archive", "config", "errors", "machine", "wire"},
    "engine": {"config", "errors", "metrics", "pool", "wire"},
    "launcher": {"keys", "machine"},
    "logs": {"config", "errors", "machine", "metrics", "wire"},
    "worker": {"deadlines", "envelope", "handler", "machine", "sandbox", "wire"},
    "models": {"archive", "config", "engine", "errors", "machine", "metrics", "pool", "wire"},
    "testing": {"handler", "wire", "worker"},
    "serving": {"config", "engine", "errors", "keys", "metrics", "models", "pool", "wire"},
    "api": {"engine", "errors", "keys", "metrics", "models", "serving", "wire"},
    "rpc": {"config", "engine", "errors", "http", "keys", "models", "serving", "wire"},
    "server": {
        *("api", "archive", "config", "deadlines", "ending", "errors", "http", "keys", "logs", "machine"),
        *("metrics", "models", "pool", "rpc", "serving"),
    },
    "cli": {
        *("archive", "config", "doctor", "errors", "export", "launcher", "logs", "machine", "manifest"),
        *("server", "tune"),
    },
    "__main__": {"cli", "machine"},
}
#: The folders of the child process; all others are the front's, or both's.
CHILD = {"worker", "handler", "envelope"}
#: What both know.
BOTH = {"wire", "machine", "deadlines", "sandbox"}
#: One runs handlers where their authors want, one reads the table of built-in ones, one loads models.
TOOLS = {"testing", "doctor", "export"}
HEAVY = {"torch", "numpy", "PIL", "ts"}
#: Modules that do no I/O: what they decide can be tried without a file, a socket or an event loop.
PURE = (
    *(
        "deadlines",
        "errors",
        "wire",
        "envelope",
        "pool.dossier",
        "pool.life",
        "engine.batching",
        "engine.retry",
        "engine.weighing",
    ),
    *(
        "config.batch_rules",
        "config.exposure",
        "config.folders",
        "config.kserve_pod",
        "config.pods",
        "config.vertex_pod",
        "config.layers",
        "config.log_config",
        "config.model_config",
    ),
    *(
        "config.model_forms",
        "config.model_rules",
        "config.model_settings",
        "config.model_snapshot",
        "config.properties",
    ),
    *("config.setting_key", "config.settings", "config.snapshot", "config.table", "config.types"),
    *("metrics.catalogue", "metrics.cell", "metrics.instruments", "metrics.intake", "metrics.java"),
    *("metrics.ledger", "metrics.line", "metrics.pace", "metrics.registry", "metrics.text"),
    *(
        "archive.archive",
        "archive.buckets",
        "archive.model_url",
        "archive.reach",
        "archive.startup",
        "archive.store",
        "archive.unpack",
        "models.autoscale",
        "logs.lines",
    ),
    *("sandbox.policy", "sandbox.rights", "models.sandboxing", "config.model_forms"),
    *("keys.key", "keys.tokens", "keys.throttle", "http.course", "http.grammar", "http.head", "http.limits"),
    *("api.body", "api.error_form", "api.routes", "api.sagemaker", "api.site", "rpc.status", "rpc.tensors"),
    *("serving.apis", "serving.dialect", "serving.parameters", "handler.response_head", "worker.passes"),
    *("manifest.kserve", "manifest.kubernetes", "manifest.pod", "manifest.values"),
    *("tune.agreement", "tune.budget", "tune.candidates", "tune.choosing", "tune.cost", "tune.latency"),
    *("tune.target", "tune.tuned_file", "tune.verdict"),
)
#: Modules that may read os.environ, and why.
ENVIRON = {
    "config.settings": "the one reader in the front",
    "rpc": "GRPC_ENABLE_FORK_SUPPORT, which gRPC's library reads",
    "sandbox.confine": "what a strict worker keeps of it, and its home",
    "handler.context": "TS_REQUEST_SEQUENCE_*, read inside a worker as TorchServe documents",
    "handler.base": "TS_IPEX_GPU_ENABLE, read inside a worker as TorchServe documents",
    "handler.sagemaker": "SAGEMAKER_*, read inside a worker as SageMaker's toolkit does",
    "handler.streaming": "LOCAL_RANK, read inside a worker of a torchrun group",
    "handler.compiling": "TORCHINDUCTOR_CACHE_DIR and TMPDIR, which torch's compiler reads",
    "handler.exported": "AOTI_RUNTIME_CHECK_INPUTS and TMPDIR, which torch's loader of packages reads",
    "machine.allocator": "MALLOC_* and GLIBC_TUNABLES, which the C library reads",
    "handler.profile": "ENABLE_TORCH_PROFILER, read inside a worker as TorchServe documents",
}
#: Modules with imports inside functions, and why.
LATE = {
    "server": "gRPC is an extra",
    "__main__": "a server in the foreground begins anew before anything heavy is imported",
    "cli": "a bad setting is answered before the server is imported",
    "archive.archiver": "progress bars are imported only where one is shown",
    "handler.weights": "loaders of formats that a model may not use",
    "export": "torch is imported only where something is exported",
    "handler.onnx_model": "onnxruntime is an extra",
    "handler.explain": "captum is an extra",
    "archive.cloud": "obstore is an extra",
    "archive.signatures": "model-signing is an extra",
}
#: Lines of a function, its docstring not counted, and its parameters; what TorchServe's own signatures need
#: is named.
LONGEST, MOST = 60, 7
#: Of all modules, those that may go without a test file of their own.
ALLOWED_WITHOUT = 0.1
MANY_PARAMETERS = {
    "archive.manifest_draft.ModelDraft.__init__": "TorchServe's constructor",
    "config.model_settings._row": "the columns of a table",
    "handler.context.Context.__init__": "TorchServe's constructor",
    "logs.logs.Logs.access": "the fields of an access line",
    "serving.books.Access.__call__": "the fields of an access line",
    "worker.standalone.StandaloneService.__init__": "TorchServe's constructor",
    "worker.standalone.TsModelLoader.load": "TorchServe's parameters",
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


def ours(tree: ast.AST) -> set[str]:
    names = {name.removeprefix("torchkeeper.") for name in imports(tree) if name.startswith("torchkeeper.")}
    return names & set(MODULES)


def folder_of(name: str) -> str:
    return name.split(".")[0]


FOLDERS = sorted({folder_of(name) for name in MODULES} - {"__init__"})


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_knows_only_what_it_may(folder: str) -> None:
    inside = [tree for name, tree in MODULES.items() if folder_of(name) == folder]
    found = {folder_of(name) for tree in inside for name in ours(tree)} - {folder}
    assert found == MAY_IMPORT[folder]


def test_the_floors_are_floors() -> None:
    seen: set[str] = set()
    for folder, below in MAY_IMPORT.items():
        assert below <= seen, f"{folder} stands too low"
        seen.add(folder)
    assert seen == set(FOLDERS)


def test_front_and_child_share_what_crosses_between_them_and_nothing_else() -> None:
    for folder, below in MAY_IMPORT.items():
        if folder in CHILD:
            assert below <= CHILD | BOTH
        elif folder not in TOOLS:
            assert not below & CHILD
    assert "api" not in MAY_IMPORT["rpc"]


def test_nothing_but_the_command_line_knows_tune() -> None:
    assert {folder for folder, below in MAY_IMPORT.items() if "tune" in below} == {"cli"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if folder_of(name) not in CHILD | TOOLS))
def test_the_front_never_imports_torch(name: str) -> None:
    assert not {top.split(".")[0] for top in imports(MODULES[name])} & HEAVY


@pytest.mark.parametrize("entry", PURE)
def test_what_is_pure_does_no_io(entry: str) -> None:
    inside = [name for name in MODULES if name == entry or name.startswith(f"{entry}.")]
    assert inside
    for name in inside:
        found = {top.split(".")[0] for top in imports(MODULES[name])}
        assert not found & {"socket", "asyncio", "subprocess", "uvloop"}, name


def test_the_settings_name_the_envelopes_and_the_policies_that_there_are() -> None:
    assert set(KNOWN_ENVELOPES) == set(ENVELOPES)
    (row,) = [row for row in TABLE if row.attribute == "batch_policy"]
    assert row.rule.wanted.replace(", ", " or ").split(" or ") == list(POLICIES)


def test_no_modules_import_each_other() -> None:
    graph = {name: ours(tree) - {name} for name, tree in MODULES.items()}
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
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


def functions(name: str) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    found = []

    def walk(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if not isinstance(child, ast.ClassDef):
                    found.append((f"{path}.{child.name}", child))
                walk(child, f"{path}.{child.name}")
            else:
                walk(child, path)

    walk(MODULES[name], name)
    return found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_functions_stay_readable(name: str) -> None:
    for full, node in functions(name):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
        assert lines <= LONGEST, f"{full} has {lines} lines"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        parameters = len([one for one in arguments if one.arg not in ("self", "cls")])
        excused = any(full == known or full.startswith(f"{known}.") for known in MANY_PARAMETERS)
        assert parameters <= MOST or excused, f"{full} has {parameters} parameters"


def test_no_public_class_name_means_two_things() -> None:
    places = defaultdict(list)
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by it."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}


def test_no_file_name_stands_thrice_and_few_modules_stand_loose() -> None:
    places = defaultdict(list)
    for name in MODULES:
        if not (PACKAGE.joinpath(*name.split(".")) / "__init__.py").exists():
            places[name.split(".")[-1]].append(name)
    assert not {name: where for name, where in places.items() if len(where) > 2}
    assert len([path for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]) <= 7


def own_test(name: str) -> bool:
    """Whether a module has a test file of its own: where its name was taken, with its folder's in front."""
    *folders, last = name.split(".")
    names = (f"test_{last}.py", f"test_{folders[-1]}_{last}.py" if folders else "")
    return any(TESTS.joinpath(*folders, each).is_file() for each in names if each)


def test_modules_have_test_files_of_their_own() -> None:
    bodies = {name: tree for name, tree in MODULES.items() if len(tree.body) > 2}
    without = sorted(name for name in bodies if not own_test(name))
    assert len(without) <= ALLOWED_WITHOUT * len(bodies), without


@pytest.mark.parametrize(
    "name", ["torchkeeper", "torchkeeper.cli", "torchkeeper.server", "torchkeeper.doctor"]
)
def test_a_fresh_import_loads_no_torch(name: str) -> None:
    probe = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], timeout=30).returncode == 0
