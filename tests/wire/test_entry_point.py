"""What a handler text says, and where that leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.wire.entry_point import asynchronous_entry, handler_classes, read_handler_text


@pytest.mark.parametrize(
    ("text", "module", "function", "folders"),
    [
        ("h", "h", "handle", ["m"]),
        ("h.py", "h", "handle", ["m"]),
        ("h:", "h", "handle", ["m"]),
        ("h:go", "h", "go", ["m"]),
        ("pack.h:go", "pack.h", "go", ["m"]),
        ("h.pyc", "h.pyc", "handle", ["m"]),
        ("h.py:a:b", "h", "a:b", ["m"]),
        ("a/b/h.py:go", "h", "go", ["m/a/b", "m"]),
        ("a/b/h.py", "h", "handle", ["m", "m/a/b"]),
        ("./h.py:go", "h", "go", ["m"]),
        ("/opt/h.py:handle", "h", "handle", ["/opt", "m"]),
        ("/opt/h.py", "h", "handle", ["m", "/opt"]),
        ("", "", "handle", ["m"]),
    ],
)
def test_handler_texts(text: str, module: str, function: str, folders: list[str]) -> None:
    read = read_handler_text(text)
    assert (read.module, read.function) == (module, function)
    assert [str(folder) for folder in read.folders(Path("m"))] == folders


def test_the_first_file_that_is_there(tmp_path: Path) -> None:
    assert read_handler_text("sub/h.py:go").file(tmp_path) is None
    for name in ("h.py", "h/__init__.py", "sub/h.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_handler_text("sub/h.py:go").file(tmp_path) == tmp_path / "sub" / "h.py"
    assert read_handler_text("sub/h.py").file(tmp_path) == tmp_path / "h" / "__init__.py"
    assert read_handler_text("pack.h").file(tmp_path) is None


ASYNC = "async def handle(data, context): pass\n"
CLASS = "class H:\n    def initialize(self, c): pass\n    async def handle(self, d, c): pass\n"


@pytest.mark.parametrize(
    ("source", "function", "found"),
    [
        (ASYNC, "handle", "async def handle"),
        (ASYNC.replace("handle", "go"), "go", "async def go"),
        (ASYNC + "def go(data, context): pass\n", "go", None),
        (CLASS, "handle", "async def H.handle"),
        (CLASS + "class Helper: pass\n", "handle", "async def H.handle"),
        (CLASS + CLASS.replace("H:", "G:"), "handle", None),
        (CLASS + CLASS.replace("H:", "G:"), "H", "async def H.handle"),
        (CLASS + "handle = H().handle\n", "handle", None),
        (CLASS + "from elsewhere import *\n", "handle", None),
        ("import functools\n@functools.cache\n" + ASYNC, "handle", None),
        ("try:\n    import x\nexcept ImportError:\n    " + ASYNC, "handle", None),
        (ASYNC + "if True:\n    def handle(data, context): pass\n", "handle", None),
        ("def handle(data, context): pass\nasync def other(): pass\n", "handle", None),
        ('"""\n' + ASYNC + '"""\ndef handle(data, context): pass\n', "handle", None),
        ("async def (:\n", "handle", None),
        ("async def " + "(" * 100_000, "handle", None),
        (ASYNC + "#" * 256 * 1024, "handle", "async def handle"),
    ],
)
def test_an_entry_point_that_is_sure_to_be_asynchronous(
    source: str, function: str, found: str | None
) -> None:
    assert asynchronous_entry(source.encode(), function) == found


@pytest.mark.parametrize(
    ("own", "found"), [("", ""), ("a", "a"), ("H", "H"), ("aH", "H"), ("HaH", "HH"), ("ab", "")]
)
def test_which_class_it_may_be(own: str, found: str) -> None:
    assert handler_classes(own, str.isupper) == list(found)
