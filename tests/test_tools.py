"""Environments of tools: made once, anew when asked for something else, and a failure says what failed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import tools  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow


def test_an_environment_is_made_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    requirements = tmp_path / "nothing.txt"
    requirements.write_text("# nothing\n")
    python = tools.build(requirements, tmp_path / "home") / "python"
    subprocess.run([python, "-c", "import pip"], check=True)
    made = python.lstat().st_ino, (tmp_path / "home" / "nothing" / ".stamp").stat().st_mtime_ns
    assert tools.build(requirements, tmp_path / "home") / "python" == python
    assert (python.lstat().st_ino, (tmp_path / "home" / "nothing" / ".stamp").stat().st_mtime_ns) == made
    requirements.write_text(f"--no-index\n--find-links {tmp_path}\nno-such-thing==1\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        tools.build(requirements, tmp_path / "home")
    assert "no-such-thing" in caught.value.stdout


def test_what_cannot_be_had_skips_but_fails_where_everything_must_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"unheard-of could not be installed: .*unheard-of\.txt"):
        tools.tool("unheard-of")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="could not be installed"):
        tools.tool("unheard-of")
