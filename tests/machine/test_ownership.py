"""Folders that are handed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchkeeper.machine.ownership import give


def test_a_folder_and_all_in_it_is_given_and_no_link_is_followed(tmp_path: Path) -> None:
    uid, gid = (4242, 4343) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    (tmp_path / "outside").write_text("x")
    before = (tmp_path / "outside").stat()
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("x")
    (folder / "link").symlink_to(tmp_path / "outside")
    checks = []
    give(folder, uid, gid, lambda: checks.append(1))
    given = [folder, folder / "inner", folder / "inner" / "file", folder / "link"]
    assert {(one.lstat().st_uid, one.lstat().st_gid) for one in given} == {(uid, gid)}
    after = (tmp_path / "outside").stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert len(checks) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_who_may_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        give(tmp_path, os.getuid() + 1, os.getgid())
