"""Who is to blame for what user code raised, where, and what helps."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from torchkeeper.worker.blame import cause_of, place_of, remedy_of, traceback_of


def raised(folder: Path, source: str) -> BaseException:
    """What a module of that source in a model's folder raises."""
    path = folder / "h.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("h", path)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return caught.value


STATE_DICT = """raise RuntimeError('''Error(s) in loading state_dict for Net:
\tMissing key(s) in state_dict: "fc.weight", "fc.bias".
\tsize mismatch for conv.weight: copying a param with shape [1].''')
"""


def test_all_lines_of_an_error_are_told_in_one(tmp_path: Path) -> None:
    error = raised(tmp_path, STATE_DICT)
    assert cause_of(error) == (
        'RuntimeError: Error(s) in loading state_dict for Net: Missing key(s) in state_dict: "fc.weight", '
        '"fc.bias". size mismatch for conv.weight: copying a param with shape [1].'
    )
    assert "one and the same model" in remedy_of(error, tmp_path, None)


def test_a_long_line_does_not_cost_those_after_it(tmp_path: Path) -> None:
    error = raised(tmp_path, "raise ValueError('first\\n' + 'x' * 5000 + '\\nlast')\n")
    said = cause_of(error)
    assert said.startswith("ValueError: first xxx")
    assert said.endswith("x... last")
    assert len(said) < 1000
    endless = raised(tmp_path, "raise ValueError('a line\\n' * 5000)\n")
    assert len(cause_of(endless)) < 2200


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("def f():\n    raise ValueError\n\nf()\n", "h.py, line 2, in f"),
        ("import json\njson.loads('{')\n", "h.py, line 2, in <module>"),
        ("def f(:\n", "h.py, line 1"),
    ],
)
def test_the_place_is_the_last_line_of_the_models_own(tmp_path: Path, source: str, place: str) -> None:
    assert place_of(raised(tmp_path, source), tmp_path) == place


def test_what_fails_elsewhere_has_no_place(tmp_path: Path) -> None:
    error = raised(tmp_path, "import json\njson.loads('{')\n")
    assert place_of(error, tmp_path / "other") == ""
    assert place_of(ValueError("never raised"), tmp_path) == ""


def test_a_module_that_is_missing_is_told_with_the_setting_that_ignores_it(tmp_path: Path) -> None:
    error = raised(tmp_path, "import nothing_of_that_name.sub\n")
    assert remedy_of(error, tmp_path, None) == "pip install nothing-of-that-name where the server runs"
    assert remedy_of(error, tmp_path, "requirements.txt").startswith("pip install")
    (tmp_path / "requirements.txt").write_text("nothing-of-that-name==1.0\n")
    assert remedy_of(error, tmp_path, "requirements.txt") == (
        "requirements.txt names it: set install_py_dep_per_model, or install it"
    )


class Mute(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.parametrize("make", [Mute, lambda: ValueError("\ud800"), lambda: ValueError("x" * 100_000)])
def test_whatever_was_raised_has_a_traceback_that_can_be_sent(make: Callable[[], Exception]) -> None:
    try:
        raise make()
    except Exception as error:  # noqa: BLE001
        told = traceback_of(error)
    told.encode()
    assert "test_blame.py" in told or told.startswith("...")
    assert len(told) < 40_000


def test_what_helps_is_looked_for_in_what_an_error_was_made_of(tmp_path: Path) -> None:
    source = "try:\n    raise OSError('[Errno 28] No space left on device')\n"
    error = raised(
        tmp_path, source + "except OSError as full:\n    raise RuntimeError('no cache') from full\n"
    )
    assert "Make room" in remedy_of(error, tmp_path, None)
    ring = ValueError("a ring")
    ring.__cause__ = ring
    assert remedy_of(ring, tmp_path, None) == ""
