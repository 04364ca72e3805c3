"""What benchmarks, scripts and fuzz targets use of the product is there under that name."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("bench", "scripts", "fuzz") for path in (ROOT / folder).rglob("*.py"))


def used(path: Path) -> Iterator[tuple[str, str]]:
    """Modules of the product, and the names that are imported from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torchkeeper":
            yield from ((str(node.module), one.name) for one in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_is_there(path: Path) -> None:
    for module, name in used(path):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")
