"""Where a handler text leads: one rule for those who load a handler and those who only look at it.

Source: TorchServe's rule for handlers. `dir/module.py:function`: the module by its last part, `handle` where
no function is named; the folder comes first on the import path where one is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

#: What a module can call by this name is its entry point unless the handler text names another.
DEFAULT_FUNCTION = "handle"

T = TypeVar("T")


@dataclass(frozen=True)
class HandlerText:
    """What a handler text says."""

    module: str
    function: str
    #: Where the module's file is said to lie, from the model's folder on; None where nothing is said.
    folder: Path | None
    #: Whether the text has a colon: its folder then comes before the model's.
    first: bool

    def folders(self, model_dir: Path) -> tuple[Path, ...]:
        """Where the module is looked for, in this order, before the interpreter's own import path.

        TorchServe passes over the folder of a text without a colon; here it comes last.
        """
        if self.folder is None:
            return (model_dir,)
        said = model_dir / self.folder
        return (said, model_dir) if self.first else (model_dir, said)

    def file(self, model_dir: Path) -> Path | None:
        """The module's file in those folders, a package's `__init__.py` first; None: it has none there."""
        for folder in self.folders(model_dir):
            for place in (folder / self.module / "__init__.py", folder / f"{self.module}.py"):
                if place.is_file():
                    return place
        return None


def read_handler_text(text: str) -> HandlerText:
    """The parts of a handler text such as `dir/module.py:function`."""
    path, colon, function = text.partition(":")
    parts = Path(path)
    folder = parts.parent if parts.parent.parts else None
    return HandlerText(parts.name.removesuffix(".py"), function or DEFAULT_FUNCTION, folder, bool(colon))


def handler_classes(own: Sequence[T], handles: Callable[[T], bool]) -> list[T]:
    """Of the classes that a module itself defines, those that may be its handler: just one has to be.

    Where there is only one it is that one, else it is the only one with a method `handle`.
    """
    return list(own) if len(own) == 1 else [one for one in own if handles(one)]


def asynchronous_entry(source: bytes, function: str) -> str | None:
    """How a module's source defines its entry point, if that is sure to be `async def`; nothing is run.

    The syntax tree takes up to a thousand times the source's memory, and seconds for each megabyte.
    """
    if b"async def" not in source:
        return None
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # whoever imports it will say why
    own = [one for one in body if isinstance(one, ast.ClassDef)]
    others = [one for one in body if one not in own and _binds(one, function)]
    if others:
        entry = others[0] if len(others) == 1 else None
        return f"async def {function}" if _is_plain_async(entry) else None
    found = handler_classes(
        [one for one in own if one.name == function] or own, lambda one: bool(_methods(one, DEFAULT_FUNCTION))
    )
    methods = _methods(found[0], DEFAULT_FUNCTION) if len(found) == 1 else []
    sure = len(methods) == 1 and not found[0].decorator_list and _is_plain_async(methods[0])
    return f"async def {found[0].name}.{DEFAULT_FUNCTION}" if sure else None


def _binds(statement: ast.stmt, name: str) -> bool:
    """Whether a statement of the top level may give that name to something."""
    names = {name, "*"}
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name in names:
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) in names:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names:
            return True
    return False


def _methods(of: ast.ClassDef, name: str) -> list[ast.stmt]:
    return [one for one in of.body if _binds(one, name)]


def _is_plain_async(statement: ast.stmt | None) -> bool:
    return isinstance(statement, ast.AsyncFunctionDef) and not statement.decorator_list
