"""What a source imports and defines, without running it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchkeeper.doctor.imports import Import
from torchkeeper.doctor.source import TooDeep, facade_lacks, missing_import, parse_source, reachable
from torchkeeper.handler.left_out import why_left_out

SURFACE = json.loads((Path(__file__).parents[1] / "compat" / "surface.json").read_text())


@pytest.mark.parametrize(
    ("text", "why"), [("def f(:", "line 1: "), ("x = 1\nprint 'old'", "line 2: "), ("a\0b", "null bytes")]
)
def test_what_is_no_python(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_source(text.encode())


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """As a process has it in which torch has compiled nothing."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "text",
    [
        "if k:\n    pass\n" + "elif k:\n    pass\n" * 900,
        "x = a" + ".b" * 900,
        "x = " + "1 + " * 3000 + "1",
        "if " + "not " * 20_000 + "k: pass",
    ],
)
def test_what_nests_too_deeply_to_be_read(text: str, usual_recursion_limit: None) -> None:
    with pytest.raises(TooDeep, match="deeply"):
        parse_source(text.encode())


def test_a_declared_encoding_is_honoured() -> None:
    assert parse_source("# -*- coding: latin-1 -*-\nname = 'ä'\nimport a".encode("latin-1")).imports


def test_what_python_only_warns_of_is_python() -> None:
    assert parse_source(b"x = '\\d'\nimport a").imports


def test_definitions() -> None:
    source = parse_source(
        b"from x import handle\nasync def later(): pass\nif 1:\n    def f(): pass\n"
        b"class A(B):\n    def initialize(self, c):\n        super().initialize(c)\n"
        b"    async def handle(self): pass\n"
    )
    assert source.functions == {"handle", "later", "f"}
    (one,) = source.classes
    assert (one.name, one.has_bases, one.calls_base_initialize) == ("A", True, True)
    assert one.methods == {"initialize", "handle"}


@pytest.mark.parametrize("module", [name for name in SURFACE if name.startswith("ts")])
def test_the_facade_has_what_it_promises(module: str) -> None:
    for name in SURFACE[module]:
        told = facade_lacks(module, (name,))
        assert told in ((None,) if why_left_out(f"{module}.{name}") is None else (module, f"{module}.{name}"))
    if why_left_out(module) is not None:
        assert facade_lacks(module, ()) == module
        return
    assert facade_lacks(module, tuple(getattr(importlib.import_module(module), "__all__", ()))) is None
    assert facade_lacks(module, ("no_such_name",)) == f"{module}.no_such_name"


@pytest.mark.parametrize(
    ("module", "names", "lacking"),
    [
        ("ts", (), None),
        ("ts", ("context", "__version__"), None),
        ("ts.torch_handler", ("base_handler",), None),
        ("ts.torch_handler.base_handler", ("*",), None),
        ("ts.arg_parser", ("ArgParser",), "ts.arg_parser"),
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
    found = reachable({tmp_path / "handler.py": ""}, (tmp_path,), None)
    names = {path.relative_to(tmp_path).as_posix() for path in found}
    assert names == {
        *("handler.py", "helper.py", "package/__init__.py", "package/deep.py"),
        *("package/near.py", "package/broken.py"),
    }
    assert [path.name for path, one in found.items() if isinstance(one.source, ValueError)] == ["broken.py"]


def test_what_is_imported_only_perhaps_leads_to_what_is_so_too(tmp_path: Path) -> None:
    for name, text in {
        "handler.py": "class H:\n    def initialize(self, c):\n        import sure\n    def f(self):\n"
        "        import perhaps, sure_after_all\n",
        "sure.py": "import sure_after_all",
        "perhaps.py": "import further",
        "further.py": "class H:\n    def initialize(self, c):\n        import last",
        "sure_after_all.py": "import last_but_one",
        "last_but_one.py": "",
        "last.py": "",
    }.items():
        (tmp_path / name).write_text(text)
    handler = tmp_path / "handler.py"
    found = reachable({handler: ""}, (tmp_path,), handler)
    assert {path.stem for path, one in found.items() if not one.doubt} == {
        *("handler", "sure", "sure_after_all", "last_but_one")
    }
    assert {one.doubt for one in found.values() if one.doubt} == {"it is imported only when f() runs"}
    found = reachable({handler: ""}, (tmp_path,), None)
    assert [path.stem for path, one in found.items() if not one.doubt] == ["handler"]
