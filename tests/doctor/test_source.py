"""What a source imports and defines, without running it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from torchkeeper.doctor.source import Import, facade_lacks, missing_import, parse_source, reachable

SURFACE = json.loads((Path(__file__).parents[1] / "compat" / "surface.json").read_text())


def imported(text: str) -> list[str]:
    return [f"{'.' * one.level}{one.module}" for one in parse_source(text.encode()).imports]


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import a, b.c as d", ["a", "b.c"]),
        ("from a.b import c, d", ["a.b"]),
        ("from . import x\nfrom ..y import z", [".", "..y"]),
        ("def f():\n    import late", ["late"]),
        ("class A:\n    def f(self):\n        from late import x", ["late"]),
        ("try:\n    import fast\nexcept ImportError:\n    import slow", ["slow"]),
        ("try:\n    import fast\nexcept (ValueError, ModuleNotFoundError):\n    pass", []),
        ("try:\n    import a\nexcept ValueError:\n    pass", ["a"]),
        ("try:\n    import a\nexcept:\n    pass", []),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", ["b"]),
        ("if typing.TYPE_CHECKING:\n    import a", []),
        ("x = 'import a'\ny = '\\d'", []),
    ],
)
def test_imports(text: str, modules: list[str]) -> None:
    assert imported(text) == modules


@pytest.mark.parametrize(
    ("text", "why"), [("def f(:", "line 1: "), ("x = 1\nprint 'old'", "line 2: "), ("a\0b", "null bytes")]
)
def test_what_is_no_python(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_source(text.encode())


def test_a_declared_encoding_is_honoured() -> None:
    assert parse_source("# -*- coding: latin-1 -*-\nname = 'ä'\nimport a".encode("latin-1")).imports


def test_definitions() -> None:
    source = parse_source(
        b"from x import handle\nasync def later(): pass\nif 1:\n    def f(): pass\n"
        b"class A(B):\n    def initialize(self, c):\n        super().initialize(c)\n"
        b"    async def handle(self): pass\n"
    )
    assert source.functions == {"handle": False, "later": True, "f": False}
    (one,) = source.classes
    assert (one.name, one.has_bases, one.calls_base_initialize) == ("A", True, True)
    assert one.async_methods == {"handle"}


@pytest.mark.parametrize("module", SURFACE)
def test_the_facade_has_what_it_promises(module: str) -> None:
    names = tuple(importlib.import_module(module).__all__)
    assert facade_lacks(module, names) is None
    assert facade_lacks(module, ("no_such_name",)) == f"{module}.no_such_name"


@pytest.mark.parametrize(
    ("module", "names", "lacking"),
    [
        ("ts", (), None),
        ("ts", ("context", "__version__"), None),
        ("ts.torch_handler", ("base_handler",), None),
        ("ts.torch_handler.base_handler", ("*",), None),
        ("ts.model_loader", ("ModelLoaderFactory",), "ts.model_loader"),
        ("ts.torch_handler", ("no_handler",), "ts.torch_handler.no_handler"),
        ("json", (), None),
        ("yaml.nothing", (), None),
        ("no_such_package.sub", ("x",), "no_such_package"),
    ],
)
def test_what_is_missing(module: str, names: tuple[str, ...], lacking: str | None) -> None:
    assert missing_import(Import(module, names, 1)) == lacking


def test_the_archives_own_modules_are_followed_and_others_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for path, text in {
        tmp_path / "handler.py": "import helper\nfrom package import deep\nimport json",
        tmp_path / "helper.py": "import handler",
        package / "__init__.py": "",
        package / "deep.py": "from . import near\nfrom .broken import x",
        package / "near.py": "",
        package / "broken.py": "def",
        tmp_path / "example.py": "import no_such_package",
    }.items():
        path.write_text(text)
    found = reachable([tmp_path / "handler.py"], (tmp_path,))
    names = {path.relative_to(tmp_path).as_posix() for path in found}
    assert names == {
        *("handler.py", "helper.py", "package/__init__.py", "package/deep.py"),
        *("package/near.py", "package/broken.py"),
    }
    assert [path.name for path, source in found.items() if isinstance(source, str)] == ["broken.py"]
