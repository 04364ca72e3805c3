"""Which imports are sure to be run when a module is, and which only perhaps."""

from __future__ import annotations

import ast

import pytest

from torchkeeper.doctor.imports import INITIALIZE, Import, brings_modules, imports_of


def imported(text: str) -> list[Import]:
    return list(imports_of(ast.parse(text).body))


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import a, b.c as d", ["a", "b.c"]),
        ("from a.b import c, d", ["a.b"]),
        ("from . import x\nfrom ..y import z", [".", "..y"]),
        ("class A:\n    import a", ["a"]),
        ("with x:\n    import a", ["a"]),
        ("try:\n    import a\nexcept ValueError:\n    pass", ["a"]),
        ("try:\n    import a\nfinally:\n    import b", ["a", "b"]),
        ("try:\n    import a\nexcept ImportError:\n    pass\nfinally:\n    import b", ["b"]),
        ("try:\n    import fast\nexcept (ValueError, ModuleNotFoundError):\n    pass", []),
        ("try:\n    import a\nexcept:\n    pass", []),
        ("with suppress(ImportError):\n    import a", []),
        ("with contextlib.suppress(ImportError):\n    import a", []),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", ["b"]),
        ("if typing.TYPE_CHECKING:\n    import a", []),
        ("if not TYPE_CHECKING:\n    import a\nelse:\n    import b", ["a"]),
        ("if __name__ == '__main__':\n    import a", []),
        ("raise SystemExit\nimport a", []),
        ("x = 'import a'", []),
    ],
)
def test_what_is_sure_to_be_imported(text: str, modules: list[str]) -> None:
    found = imported(text)
    assert [f"{'.' * one.level}{one.module}" for one in found] == modules
    assert not any(one.doubt or one.instead_of for one in found)


F, G, IF = (f"it is imported only {when}" for when in ("when f() runs", "when g() runs", "under a condition"))


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("def f():\n    import a", F),
        ("async def f():\n    import a", F),
        ("def f():\n    def g():\n        import a", F),
        ("def f():\n    if x:\n        import a", F),
        ("class A:\n    def f(self):\n        from a import x", F),
        ("class A:\n    def initialize(self, c):\n        import a", INITIALIZE),
        ("def initialize(c):\n    import a", "it is imported only when initialize() runs"),
        ("class A:\n    def initialize(self, c):\n        def g():\n            import a", G),
        ("class A:\n    def initialize(self, c):\n        if x:\n            import a", IF),
        ("class A:\n    def initialize(self, c):\n        if x:\n            return\n        import a", IF),
        ("if x:\n    import a", IF),
        ("if x:\n    pass\nelse:\n    import a", IF),
        ("if x:\n    def f():\n        import a", IF),
        ("for x in y:\n    import a", IF),
        ("while x:\n    import a", IF),
        ("match x:\n    case 1:\n        import a", IF),
        ("try:\n    pass\nexcept ValueError:\n    import a", IF),
        ("try:\n    pass\nexcept ImportError:\n    pass\nelse:\n    import a", IF),
    ],
)
def test_what_is_imported_only_perhaps(text: str, doubt: str) -> None:
    (found,) = imported(text)
    assert (found.module, found.doubt) == ("a", doubt)


def test_a_substitute_is_imported_if_the_first_choice_fails() -> None:
    (slow,) = imported("try:\n    import fast, faster\nexcept ImportError:\n    import slow")
    assert slow == Import("slow", (), 4, instead_of=(Import("fast", (), 2), Import("faster", (), 2)))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("import sys\nsys.path.insert(0, 'src')", "sys.path in line 2"),
        ("from sys import path", "sys.path in line 1"),
        ("def f():\n    sys.modules['a'] = b", "sys.modules in line 2"),
        ("zipfile.ZipFile('m.zip').extractall('.')", "extractall in line 1"),
        ("shutil.unpack_archive(x)", "unpack_archive in line 1"),
        ("site.addsitedir(x)", "addsitedir in line 1"),
        ("subprocess.run([sys.executable, '-m', 'pip', 'install', 'a'])", "pip in line 1"),
        ("os.system(f'pip install {x}')", "pip in line 1"),
        ("import os, sys\nprint(sys.argv, os.path)", ""),
        ("'a pipe'", ""),
    ],
)
def test_what_makes_modules_appear(text: str, where: str) -> None:
    assert brings_modules(ast.parse(text)) == where
