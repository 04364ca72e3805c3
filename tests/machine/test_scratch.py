"""Folders for a while: this user's alone, gone again, and nothing for `tempfile` to tell of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from torchkeeper.machine.scratch import folder_for_a_while, new_folder


def test_a_new_folder_is_this_users_alone_and_no_other(tmp_path: Path) -> None:
    one, other = new_folder("a-", tmp_path), new_folder("a-", tmp_path)
    assert one != other
    assert one.parent == tmp_path
    assert (one.name[:2], one.stat().st_mode & 0o777) == ("a-", 0o700)


def test_one_for_a_while_goes_with_what_lies_there_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "_name_sequence", None)
    with pytest.raises(ValueError, match="within"), folder_for_a_while("b-") as folder:  # noqa: PT012
        (folder / "file").touch()
        assert folder.parent == tmp_path
        raise ValueError("within")
    assert not folder.exists()
    assert tempfile._name_sequence is None  # type: ignore[attr-defined]  # nothing public tells
