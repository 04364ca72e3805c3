"""Whether a function is sure to fail when a model is loaded: it is called with None then, as in TorchServe.

Told from the syntax tree alone, and only where nothing else can happen: what comes before the first branch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Built-ins that take no None.
_REFUSING = frozenset(
    ("len", "iter", "enumerate", "list", "tuple", "set", "sorted", "sum", "max", "min", "zip")
)
#: Expressions of which parts may not be computed, or later.
_LATER = (ast.Lambda, ast.IfExp, ast.BoolOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def fails_with_none(source: bytes, name: str) -> int | None:
    """The line in which the entry point of that name fails for None; None: it may go well."""
    try:
        body = ast.parse(source).body
        every = [(one, _names(node)) for one in body for node in ast.walk(one)]
        bound = [one for one, names in every if name in names]
        if len(bound) != 1 or any("*" in names for _, names in every):
            return None
        function, given = _function(bound[0], body)
        if function is None or function.decorator_list:
            return None
        parameters = [*function.args.posonlyargs, *function.args.args][given:]
        waits = any(
            isinstance(node, ast.Yield | ast.YieldFrom | ast.NamedExpr) for node in ast.walk(function)
        )
        if not parameters or waits:
            return None
        return _fails(function.body, parameters[0].arg, _REFUSING.difference(*(names for _, names in every)))
    except RecursionError:
        return None


def _names(node: ast.AST) -> set[str]:
    """What a node binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.alias):
        return {node.asname or node.name}
    return {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del) else set()


def _function(statement: ast.stmt, body: list[ast.stmt]) -> tuple[ast.FunctionDef | None, int]:
    """The function or method that a name is bound to, and how many of its parameters are given."""
    if isinstance(statement, ast.FunctionDef):
        return statement, 0
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Attribute):
        return None, 0
    made = statement.value.value
    if not isinstance(made, ast.Call) or not isinstance(made.func, ast.Name):
        return None, 0
    classes = [one for one in body if isinstance(one, ast.ClassDef) and one.name == made.func.id]
    if len(classes) != 1 or classes[0].decorator_list or classes[0].keywords:
        return None, 0
    methods = [
        one for one in classes[0].body if any(statement.value.attr in _names(n) for n in ast.walk(one))
    ]
    only = methods[0] if len(methods) == 1 else None
    return (only, 1) if isinstance(only, ast.FunctionDef) else (None, 0)


def _fails(body: list[ast.stmt], name: str, refusing: frozenset[str]) -> int | None:
    for statement in body:
        parts: list[ast.expr | None] = []
        if isinstance(statement, ast.For):
            if _is(statement.iter, name):
                return statement.lineno
            parts = [statement.iter]
        elif isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Return):
            parts = [statement.value]
        elif isinstance(statement, ast.Raise):
            return statement.lineno
        elif not isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
            return None
        for node in (node for part in parts if part is not None for node in _computed(part)):
            if _refuses(node, name, refusing):
                return node.lineno
        if isinstance(statement, ast.For | ast.Return) or name in set().union(
            *map(_names, ast.walk(statement))
        ):
            return None
    return None


def _computed(part: ast.expr) -> Iterator[ast.expr]:
    """The expressions that are computed whenever this one is."""
    if isinstance(part, ast.BoolOp):
        yield from _computed(part.values[0])
    elif isinstance(part, ast.IfExp):
        yield from _computed(part.test)
    elif isinstance(part, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        yield part
        yield from _computed(part.generators[0].iter)
    elif not isinstance(part, _LATER):
        yield part
        for child in ast.iter_child_nodes(part):
            if isinstance(child, ast.keyword):
                child = child.value
            if isinstance(child, ast.expr):
                yield from _computed(child)


def _refuses(node: ast.expr, name: str, refusing: frozenset[str]) -> bool:
    if isinstance(node, ast.Subscript | ast.Attribute):
        return _is(node.value, name) and not (isinstance(node, ast.Attribute) and node.attr.startswith("__"))
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return _is(node.generators[0].iter, name)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return node.func.id in refusing and _is(node.args[0], name)
    return False


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
