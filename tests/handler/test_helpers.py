"""The small helpers of `ts.utils` and `ts.handler_utils`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from torchkeeper.handler import context as context_module
from torchkeeper.handler.helpers import (
    CLEANUP_REGEX,
    check_valid_pt2_backend,
    deprecated,
    get_yaml_config,
    import_class,
    import_file,
    list_classes_from_module,
    timeit,
)


def test_own_classes_of_a_module() -> None:
    module = ModuleType("mine")
    exec("from pathlib import Path\nclass B: pass\nclass A(dict): pass", vars(module))
    assert [cls.__name__ for cls in list_classes_from_module(module)] == ["A", "B"]
    assert [cls.__name__ for cls in list_classes_from_module(module, dict)] == ["A"]


def test_a_file_is_imported_whatever_else_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "of_that_name", ModuleType("of_that_name"))
    path = tmp_path / "of_that_name.py"
    path.write_text("VALUE = __name__")
    assert import_file(path).VALUE == "of_that_name"
    assert sys.modules["of_that_name"].__file__ == str(path)
    with pytest.raises(ImportError, match=r"model\.txt is no Python file"):
        import_file(path.rename(tmp_path / "model.txt"))


def test_import_class() -> None:
    assert import_class("torchkeeper.handler.context.Context") is context_module.Context
    assert import_class("context.Context", "torchkeeper.handler") is context_module.Context
    with pytest.raises(ImportError, match="no class Nothing"):
        import_class("torchkeeper.handler.context.Nothing")
    with pytest.raises(ImportError, match="names no module"):
        import_class("Context")


def test_yaml(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("minWorkers: 2")
    (tmp_path / "b.yaml").write_text("")
    assert get_yaml_config(tmp_path / "a.yaml") == {"minWorkers": 2}
    assert get_yaml_config(str(tmp_path / "b.yaml")) == {}


def test_deprecated() -> None:
    @deprecated("1.0", "new", DeprecationWarning)
    def old(value: int) -> int:
        return value

    with pytest.warns(DeprecationWarning, match=r"old is deprecated in 1\.0 and moved to new"):
        assert old(3) == 3


def test_timeit(capsys: pytest.CaptureFixture[str]) -> None:
    assert timeit(len)([1]) == 1
    assert "func: 'len' took a total of 0.00" in capsys.readouterr().out


def test_backends(caplog: pytest.LogCaptureFixture) -> None:
    assert check_valid_pt2_backend("inductor")
    assert not check_valid_pt2_backend("tvm")
    assert "tvm is not a supported backend" in caplog.text


def test_cleanup() -> None:
    assert CLEANUP_REGEX.sub("", "<b>fish</b>&amp;chips&#33;") == "fishchips"
