"""Archives: how they are opened, and what tries to get out."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from torchkeeper.archive.archive import MANIFEST, open_archive
from torchkeeper.errors import ArchiveError


@pytest.mark.parametrize("name", ["../out.txt", "/abs.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
def test_nothing_gets_out_of_a_zip_or_a_tar(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.mar", "w") as packed:
        packed.writestr(name, "x")
    entry = tarfile.TarInfo(name)
    entry.size = 1
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        tar.addfile(entry, io.BytesIO(b"x"))
    for file in ("bad.mar", "bad.tar.gz"):
        with pytest.raises(ArchiveError, match="outside the model's folder"):
            open_archive(tmp_path / file, tmp_path / "into")
        assert not (tmp_path / "into").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        tar.addfile(entry)
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        open_archive(tmp_path / "bad.tar.gz", tmp_path / "into")


@pytest.mark.parametrize(
    ("content", "text"),
    [("{", "cannot be read"), ("[]", "has no object `model`")],
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, content: str, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.mar", "w") as packed:
        packed.writestr(MANIFEST, content)
    with pytest.raises(ArchiveError, match=r"m\.mar") as raised:
        open_archive(tmp_path / "m.mar", tmp_path / "into")
    assert text in raised.value.message


def test_without_a_manifest_it_is_empty(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.mar", "w") as packed:
        packed.writestr("x.py", "")
    for path in (tmp_path / "m.mar", tmp_path / "into"):
        archive = open_archive(path, tmp_path / "into")
        assert archive.raw_manifest == {}
        assert archive.unhandled == f"no {MANIFEST} inside; is it made by torch-model-archiver?"
        manifest = archive.manifest
        assert (manifest.model_name, manifest.handler, manifest.model_version) == (None, None, "1.0")
        assert (archive.model_dir / "x.py").is_file()


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.mar").write_text("hello")
    with pytest.raises(ArchiveError, match=r"m\.mar: neither a zip file"):
        open_archive(tmp_path / "m.mar", tmp_path / "into")


def test_a_manifest_without_optional_keys_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"model": {"modelName": "m", "handler": "h"}}))
    archive = open_archive(folder, tmp_path / "unused")
    assert archive.model_dir == folder
    assert archive.manifest.model_version == "1.0"


def unpacked(folder: Path) -> Path:
    """A model's folder, as unpacking a .tar.gz leaves it."""
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"model": {"modelName": "m", "handler": "h"}}))
    return folder


def test_a_folder_with_one_sub_folder_is_unwrapped_once(tmp_path: Path) -> None:
    inner = unpacked(tmp_path / "model" / "inner")
    (tmp_path / "model" / ".hidden").mkdir()
    assert open_archive(tmp_path / "model", tmp_path / "unused").model_dir == inner
    deep = unpacked(tmp_path / "deep" / "a" / "b").parents[1]
    assert open_archive(deep, tmp_path / "unused").raw_manifest == {}


def test_a_folder_with_two_sub_folders_is_ambiguous(tmp_path: Path) -> None:
    unpacked(tmp_path / "model" / "inner")
    (tmp_path / "model" / "other").mkdir()
    assert open_archive(tmp_path / "model", tmp_path / "unused").raw_manifest == {}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = unpacked(tmp_path / "elsewhere")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inner").symlink_to(elsewhere)
    assert open_archive(tmp_path / "model", tmp_path / "unused").raw_manifest == {}
