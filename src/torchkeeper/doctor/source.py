"""What a handler's source imports and defines, told from its syntax tree; nothing is executed."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torchkeeper

#: Where the import names for TorchServe's handlers lie: beside the package.
FACADE = Path(torchkeeper.__file__).parents[1] / "ts"
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


@dataclass(frozen=True)
class Import:
    """One import statement's module, with what is taken from it."""

    module: str
    names: tuple[str, ...]
    line: int
    #: Leading dots.
    level: int = 0


@dataclass(frozen=True)
class Class:
    """A class on the module's top level."""

    name: str
    methods: frozenset[str]
    async_methods: frozenset[str]
    has_bases: bool
    #: Whether `initialize` calls its base's.
    calls_base_initialize: bool


@dataclass
class SourceOutline:
    """What a module imports (but for what may be missing) and defines."""

    imports: list[Import] = field(default_factory=list)
    #: Functions of the top level, and whether they are asynchronous; also names that are imported or
    #: assigned, for they may be functions.
    functions: dict[str, bool] = field(default_factory=dict)
    classes: list[Class] = field(default_factory=list)
    #: Whether it may have names that its text does not show.
    dynamic: bool = False


def parse_source(content: bytes) -> SourceOutline:
    """Reads a module's source.

    Raises:
        ValueError: it is no Python; the text says where.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    source = SourceOutline()
    for statement in _top_level(tree.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            source.functions[statement.name] = isinstance(statement, ast.AsyncFunctionDef)
        elif isinstance(statement, ast.ClassDef):
            source.classes.append(_class(statement))
        else:
            for name in _bound(statement):
                source.functions.setdefault(name, False)
    source.dynamic = bool(source.functions.keys() & {"*", "__getattr__"})
    source.imports += _imports(tree.body)
    return source


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement imports or assigns."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)


def _class(node: ast.ClassDef) -> Class:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    base_call = any(
        isinstance(call.func, ast.Attribute) and call.func.attr == "initialize"
        for function in functions
        if function.name == "initialize"
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
    )
    return Class(
        node.name,
        frozenset(function.name for function in functions),
        frozenset(function.name for function in functions if isinstance(function, ast.AsyncFunctionDef)),
        bool(node.bases),
        base_call,
    )


def _imports(nodes: Iterable[ast.AST]) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.lineno, node.level)
        elif isinstance(node, ast.Try) and any(_catches_import_error(one) for one in node.handlers):
            yield from _imports((*node.handlers, *node.orelse, *node.finalbody))
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _imports(node.orelse)
        else:
            yield from _imports(ast.iter_child_nodes(node))


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind) in _IMPORT_ERRORS for kind in kinds)


# --- imports --------------------------------------------------------------------------------------------


def is_installed(name: str) -> bool:
    """Whether this interpreter, which also runs the workers, would find a top-level module."""
    if name in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def missing_import(wanted: Import, installed: Callable[[str], bool] = is_installed) -> str | None:
    """What of an absolute import is not there, None if all is."""
    top = wanted.module.partition(".")[0]
    if top == "ts":
        return facade_lacks(wanted.module, wanted.names)
    return None if installed(top) else top


def facade_lacks(module: str, names: tuple[str, ...]) -> str | None:
    """The first module or name of an import from `ts` that torchkeeper does not have."""
    stem = FACADE.joinpath(*module.split(".")[1:])
    file = (
        stem.with_suffix(".py")
        if stem != FACADE and stem.with_suffix(".py").is_file()
        else stem / "__init__.py"
    )
    if not file.is_file():
        return module
    known = _facade_names(file)
    for name in names:
        if name != "*" and name not in known and not _is_module(stem / name):
            return f"{module}.{name}"
    return None


def _is_module(stem: Path) -> bool:
    return stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()


def _facade_names(file: Path) -> set[str]:
    tree = ast.parse(file.read_bytes())
    taken = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in taken for alias in node.names}


def local_modules(wanted: Import, folder: Path) -> tuple[bool, list[Path]]:
    """Whether an import is of the archive's own, and the files of it."""
    parts = wanted.module.split(".")
    if not _is_module(folder / parts[0]) and not (folder / parts[0]).is_dir():
        return False, []
    stems = [folder.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
    stems += [stems[-1] / name for name in wanted.names if name != "*"]
    files = [file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py")]
    return True, [file for file in files if file.is_file()]


def reachable(start: list[Path], folders: Sequence[Path]) -> Mapping[Path, SourceOutline | str]:
    """The modules in those folders that these import, directly or not: the source, or why it is none."""
    found: dict[Path, SourceOutline | str] = {}
    waiting = list(start)
    while waiting:
        file = waiting.pop(0)
        if file in found:
            continue
        try:
            source = parse_source(file.read_bytes())
        except (OSError, ValueError) as error:
            found[file] = str(error)
            continue
        found[file] = source
        for wanted in source.imports:
            for base in [file.parents[wanted.level - 1]] if wanted.level else folders:
                if wanted.module:
                    waiting += local_modules(wanted, base)[1]
                else:
                    beside = [base / f"{name}.py" for name in wanted.names]
                    waiting += [path for path in beside if path.is_file()]
    return found
