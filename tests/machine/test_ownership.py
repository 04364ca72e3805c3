"""Folders that are handed over, and those of one user alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchkeeper.machine.ownership import give, own_folder


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


def test_a_folder_of_ones_own_is_made_and_its_path_stays_its(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "own"
    with own_folder(folder) as path:
        assert folder.stat().st_mode & 0o777 == 0o700
        (path / "file").write_text("mine")
        if path != folder:  # where there is /proc
            folder.rename(tmp_path / "moved")
            folder.mkdir()
            (folder / "file").write_text("planted")
            assert (path / "file").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o770, 0o777, 0o1777])
def test_a_folder_that_others_have_a_part_in_is_nobodys_own(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with (
        pytest.raises(PermissionError, match=f"has mode {mode:04o}, which lets others in"),
        own_folder(folder),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives folders away")
def test_a_folder_of_another_user_is_not_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4242, 4242)
    with pytest.raises(PermissionError, match=r"is user 4242's, not this one's \(0\)"), own_folder(folder):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError), own_folder(tmp_path / "file"):  # noqa: PT011
        pass
