"""The folder of unpacked archives: what is not wanted is gone, at the next opportunity if not now."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from shortage import no_descriptors
from torchkeeper.archive.unpack import part_of
from torchkeeper.models.unpacked import Unpacked


def filled(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    return folder


def test_places_are_new_and_go_with_what_is_half_unpacked(tmp_path: Path) -> None:
    unpacked = Unpacked(tmp_path)
    one, other = unpacked.new(), unpacked.new()
    assert one != other
    assert not one.exists()
    filled(one)
    filled(part_of(one))
    filled(other)
    unpacked.remove(one)
    (folder,) = tmp_path.iterdir()
    assert list(folder.iterdir()) == [other]
    unpacked.remove(one)
    unpacked.close()
    assert not list(tmp_path.iterdir())
    unpacked.close()


def test_what_cannot_be_removed_is_removed_later(tmp_path: Path) -> None:
    unpacked = Unpacked(tmp_path)
    one, other = filled(unpacked.new()), filled(unpacked.new())
    with no_descriptors():
        unpacked.remove(one)
    assert one.exists()
    unpacked.remove(other)
    assert not one.exists()
    assert not other.exists()


def test_a_download_goes_with_its_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unpacked = Unpacked(tmp_path)
    download, absent, stuck = tmp_path / "m.mar", tmp_path / "n.mar", tmp_path / "o.mar"
    download.write_text("x")
    filled(stuck)
    unpacked.remove(download, absent, stuck)
    assert not download.exists()
    assert f"{stuck} is not needed any more, but cannot be removed: Is a directory" in caplog.text


def test_one_thing_that_cannot_be_removed_keeps_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of its folder nor of others; folders in turn, so that some come after it."""
    unpacked = Unpacked(tmp_path)
    places = [filled(unpacked.new()) for _ in range(6)]
    stuck = places[2] / "deep" / "file"
    ends = os.unlink

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        if os.path.samestat(os.stat(path, dir_fd=dir_fd), there):
            raise PermissionError(1, "Operation not permitted")
        ends(path, dir_fd=dir_fd)

    there = stuck.stat()
    (places[2] / "other").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        unpacked.remove(places[2])
        assert [path for path in places[2].rglob("*") if path.is_file()] == [stuck]
        unpacked.close()
    assert [path for path in places if path.exists()] == [places[2]]
    (record,) = caplog.records
    assert record.getMessage().endswith("not all of it can be removed")
    unpacked.close()
    assert not list(tmp_path.iterdir())


def test_folders_deeper_than_python_goes_keep_nothing_else(tmp_path: Path) -> None:
    unpacked = Unpacked(tmp_path)
    deep, other = unpacked.new(), filled(unpacked.new())
    deep.joinpath(*["d"] * 200).mkdir(parents=True)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        unpacked.remove(deep)
        unpacked.remove(other)
    finally:
        sys.setrecursionlimit(limit)
    assert not other.exists()
    unpacked.close()
    assert not list(tmp_path.iterdir())
