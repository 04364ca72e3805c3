"""What a handler's source imports and defines, told from its syntax tree; nothing is executed."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torchkeeper
from torchkeeper.doctor.imports import INITIALIZE, Import, brings_modules, imports_of

#: Where the import names for TorchServe's handlers lie: beside the package.
FACADE = Path(torchkeeper.__file__).parents[1] / "ts"


@dataclass(frozen=True)
class Class:
    """A class on the module's top level."""

    name: str
    methods: frozenset[str]
    has_bases: bool
    #: Whether decorators or a metaclass make it.
    made: bool
    #: Whether `initialize` calls its base's.
    calls_base_initialize: bool


@dataclass
class SourceOutline:
    """What a module imports (but for what may be missing) and defines."""

    imports: list[Import] = field(default_factory=list)
    #: Functions of the top level; also names that are imported or assigned, for they may be functions.
    functions: set[str] = field(default_factory=set)
    classes: list[Class] = field(default_factory=list)
    #: Whether it may have names that its text does not show.
    dynamic: bool = False
    #: Where it may make modules appear that are not there yet; nothing if it does not.
    brings: str = ""


class TooDeep(ValueError):
    """A source nests more deeply than can be followed here; it may be Python all the same."""

    def __init__(self) -> None:
        super().__init__("its code nests too deeply for the doctor; Python itself may run it")


def parse_source(content: bytes) -> SourceOutline:
    """Reads a module's source.

    Raises:
        TooDeep: it cannot be told.
        ValueError: it is no Python; the text says where.
    """
    try:
        return _outlined(content)
    except (RecursionError, MemoryError):
        raise TooDeep from None


def _outlined(content: bytes) -> SourceOutline:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(str(error)) from None
    source = SourceOutline()
    for statement in _top_level(tree.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            source.functions.add(statement.name)
        elif isinstance(statement, ast.ClassDef):
            source.classes.append(_class(statement))
        else:
            source.functions |= set(_bound(statement))
    source.dynamic = bool(source.functions & {"*", "__getattr__"})
    source.imports += imports_of(tree.body)
    source.brings = brings_modules(tree)
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
        bool(node.bases),
        bool(node.keywords or node.decorator_list),
        base_call,
    )


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


@dataclass
class Reached:
    """A module of the archive that others of it import."""

    #: Why it cannot be read, if so.
    source: SourceOutline | ValueError
    #: Why it may never be imported; nothing if it is.
    doubt: str
    #: Whether the server initialises a class of it.
    initialized: bool

    def imports(self) -> Iterator[tuple[Import, str]]:
        """Its imports, and why each may never be run."""
        if isinstance(self.source, SourceOutline):
            for wanted in self.source.imports:
                sure = self.initialized and wanted.doubt == INITIALIZE
                yield wanted, self.doubt or ("" if sure else wanted.doubt)


def reachable(
    start: Mapping[Path, str], folders: Sequence[Path], initialized: Path | None
) -> dict[Path, Reached]:
    """The modules in those folders that these import, directly or not.

    Args:
        start: files, and why each may never be imported; nothing if it is.
        initialized: the file whose class the server initialises.
    """
    found: dict[Path, Reached] = {}
    waiting = list(start.items())
    while waiting:
        file, doubt = waiting.pop(0)
        if file not in found:
            found[file] = Reached(_outline(file), doubt, file == initialized)
        elif found[file].doubt and not doubt:
            found[file].doubt = doubt
        else:
            continue
        for wanted, further in found[file].imports():
            for base in [file.parents[wanted.level - 1]] if wanted.level else folders:
                if wanted.module:
                    files = local_modules(wanted, base)[1]
                else:
                    beside = [base / f"{name}.py" for name in wanted.names]
                    files = [path for path in beside if path.is_file()]
                waiting += [(one, further) for one in files]
    return found


def _outline(file: Path) -> SourceOutline | ValueError:
    try:
        return parse_source(file.read_bytes())
    except ValueError as error:
        return error
    except OSError as error:
        return ValueError(str(error))
