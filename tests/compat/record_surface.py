"""Records every module of TorchServe's two distributions with its public names, for test_ts_facade.py.

Run by hand; it only reads the source files of an installed TorchServe and of its archiver:

    python tests/compat/record_surface.py SITE_PACKAGES > tests/compat/surface.json
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("ts", "model_archiver")
#: No import can name it: its folder has a hyphen.
UNNAMABLE = "built-in"

#: Underscore methods that handlers override or call.
PROMISED = {
    "__init__",
    "_expand_contractions",
    "_infer_with_profiler",
    "_is_describe",
    "_is_explain",
    "_load_pickled_model",
    "_load_torchscript_model",
    "_remove_accented_characters",
    "_remove_html_tags",
    "_remove_punctuation",
    "_remove_puncutation",
    "_tokenize",
}

#: Public methods that belong to the way TorchServe's numbers travel (as lines of a log), not to handlers.
INTERNAL = {"emit_metrics"}

#: Names of a module's own workings.
LITTER = {"logger", "version_path"}

#: Methods that TorchServe's class inherits from a module that is not promised.
INHERITED = {"MetricsCacheYamlImpl": ("ts/metrics/metric_cache_abstract.py", "MetricCacheAbstract")}


def parameters(function: ast.FunctionDef) -> list[str]:
    """`name`, or `name=default` where the default is a plain constant, or `name=...`; `*` forms included."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    found = [_parameter(argument.arg, value) for argument, value in zip(plain, defaults, strict=True)]
    found += [f"*{given.vararg.arg}"] if given.vararg else []
    found += [
        _parameter(one.arg, value) for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return found + ([f"**{given.kwarg.arg}"] if given.kwarg else [])


def _parameter(name: str, default: ast.expr | None) -> str:
    if default is None:
        return name
    return f"{name}={default.value!r}" if isinstance(default, ast.Constant) else f"{name}=..."


def methods(node: ast.ClassDef) -> dict[str, list[str]]:
    """Public methods, and the promised underscore ones, with their parameters."""
    return {
        member.name: parameters(member)
        for member in node.body
        if isinstance(member, ast.FunctionDef)
        and member.name not in INTERNAL
        and (not member.name.startswith("_") or member.name in PROMISED)
        and not any(
            isinstance(mark, ast.Attribute) and mark.attr == "setter" for mark in member.decorator_list
        )
    }


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of every module."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if UNNAMABLE not in parts:
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module's top level, also the ones that stand under a condition."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try) and "__main__" not in ast.unparse(node):
            for part in ("body", "orelse", "finalbody", "handlers"):
                for inner in getattr(node, part, []):
                    yield from statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def surface(root: Path, path: Path) -> dict[str, Any]:
    """Public name -> a class's {method: parameters}, a function's parameters, or None for any other.

    Names that a module imports from its own distribution count: they can be imported from there, too.
    """
    found: dict[str, Any] = {}
    for node in statements(ast.parse(path.read_text()).body):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = parameters(node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = _class(root, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: None for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").split(".")[0] in PACKAGES
        ):
            found |= {alias.asname or alias.name: None for alias in node.names}
    public = {name for name in found if not name.startswith("_") or name == "__version__"}
    return {name: found[name] for name in sorted(public - LITTER)}


def _class(root: Path, node: ast.ClassDef) -> dict[str, list[str]]:
    found = methods(node)
    if node.name in INHERITED:
        path, parent = INHERITED[node.name]
        body = ast.parse((root / path).read_text()).body
        (inherited,) = [one for one in body if isinstance(one, ast.ClassDef) and one.name == parent]
        found = methods(inherited) | found
    return dict(sorted(found.items()))


def main() -> None:
    """Prints module -> name -> parameters as JSON."""
    root = Path(sys.argv[1])
    json.dump({name: surface(root, path) for name, path in modules(root)}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
