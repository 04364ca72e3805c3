"""What a module imports and when, told from its syntax tree: while it is imported, or perhaps never."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

#: The doubt of a class's `initialize`: none at all if the class is the model's handler.
INITIALIZE = "it is imported only when initialize() runs"
_CONDITION = "it is imported only under a condition"
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")
#: Attributes by which code makes modules appear that were not there.
_BRINGS = ("sys.path", "sys.modules", "sys.meta_path", "sys.path_hooks")
_BRINGS_BY_NAME = ("addsitedir", "extractall", "unpack_archive")


@dataclass(frozen=True)
class Import:
    """One import statement's module, with what is taken from it."""

    module: str
    names: tuple[str, ...]
    line: int
    #: Leading dots.
    level: int = 0
    #: Why it may never be run; nothing if it is run whenever its module is imported.
    doubt: str = ""
    #: Those that it stands in for: it is run only if one of them fails.
    instead_of: tuple[Import, ...] = ()


def imports_of(body: Iterable[ast.stmt], doubt: str = "", *, in_class: bool = False) -> Iterator[Import]:
    """The imports of statements, but for those that may be missing."""
    for node in body:
        if isinstance(node, ast.Return | ast.Raise):
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), node.lineno, 0, doubt) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.lineno, node.level, doubt)
        elif isinstance(node, ast.Try | ast.TryStar):
            yield from _of_try(node, doubt)
        elif isinstance(node, ast.If):
            yield from _of_if(node, doubt)
        elif isinstance(node, ast.With | ast.AsyncWith):
            if not any("suppress" in ast.unparse(item.context_expr) for item in node.items):
                yield from imports_of(node.body, doubt)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports_of(node.body, _called(node.name, doubt, in_class=in_class))
        elif isinstance(node, ast.ClassDef):
            yield from imports_of(node.body, doubt, in_class=True)
        else:
            for part in _blocks(node):
                yield from imports_of(part, _conditional(doubt))
        if doubt == INITIALIZE and _may_return(node):
            doubt = _CONDITION


def _of_try(node: ast.Try | ast.TryStar, doubt: str) -> Iterator[Import]:
    caught = any(_catches_import_error(handler) for handler in node.handlers)
    tried = tuple(imports_of(node.body, doubt))
    if not caught:
        yield from tried
    for handler in node.handlers:
        if _catches_import_error(handler):
            yield from (replace(one, instead_of=tried) for one in imports_of(handler.body, doubt))
        else:
            yield from imports_of(handler.body, _conditional(doubt))
    yield from imports_of(node.orelse, _conditional(doubt) if caught else doubt)
    yield from imports_of(node.finalbody, doubt)


def _of_if(node: ast.If, doubt: str) -> Iterator[Import]:
    test = ast.unparse(node.test)
    if test in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        yield from imports_of(node.orelse, doubt)
    elif test in ("not TYPE_CHECKING", "not typing.TYPE_CHECKING"):
        yield from imports_of(node.body, doubt)
    elif "__name__" in test:
        yield from imports_of(node.orelse, _conditional(doubt))
    else:
        yield from imports_of((*node.body, *node.orelse), _conditional(doubt))


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statements within a loop or a match."""
    for part in ("body", "orelse"):
        yield getattr(node, part, [])
    for case in getattr(node, "cases", []):
        yield case.body


def _called(name: str, doubt: str, *, in_class: bool) -> str:
    if in_class and name == "initialize" and not doubt:
        return INITIALIZE
    return f"it is imported only when {name}() runs" if doubt in ("", INITIALIZE) else doubt


def _conditional(doubt: str) -> str:
    return _CONDITION if doubt in ("", INITIALIZE) else doubt


def _may_return(node: ast.stmt) -> bool:
    return any(isinstance(inner, ast.Return) for inner in ast.walk(node))


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind) in _IMPORT_ERRORS for kind in kinds)


def brings_modules(tree: ast.AST) -> str:
    """Where code makes modules appear that are not there yet: a longer path, an archive unpacked, pip."""
    for node in ast.walk(tree):
        found = ""
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            found = whole if whole in _BRINGS else node.attr if node.attr in _BRINGS_BY_NAME else ""
        elif isinstance(node, ast.Name) and node.id in _BRINGS_BY_NAME:
            found = node.id
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            found = next((f"sys.{one.name}" for one in node.names if f"sys.{one.name}" in _BRINGS), "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = "pip" if node.value in ("pip", "pip3") or "pip install" in node.value else ""
        if found:
            return f"{found} in line {node.lineno}"  # type: ignore[attr-defined]  # expressions and statements have one
    return ""
