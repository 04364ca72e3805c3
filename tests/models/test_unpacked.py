"""The folder of unpacked archives: what is not wanted is gone, at the next opportunity if not now."""

from __future__ import annotations

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
