"""Archives: round trips in every format, the same bytes twice, and what tries to get out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from torchkeeper.archive.archive import FORMATS, MANIFEST, open_archive, output_path
from torchkeeper.archive.archiver import ModelArchiverConfig, ModelArchiverError, archive_model
from torchkeeper.errors import ArchiveError


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for name in ("model.py", "weights.pt", "handler.py", "req.txt", "model-config.yaml", "a.json", "b.json"):
        (tmp_path / name).write_text(f"# {name}\n")
    extra = tmp_path / "extra"
    (extra / "deeper").mkdir(parents=True)
    (extra / "one.txt").write_text("1")
    (extra / ".hidden").write_text("no")
    (tmp_path / "out").mkdir()
    return tmp_path


def config(inputs: Path, **changes: object) -> ModelArchiverConfig:
    values: dict[str, object] = {
        "model_name": "m",
        "version": "2.0",
        "handler": str(inputs / "handler.py"),
        "model_file": str(inputs / "model.py"),
        "serialized_file": str(inputs / "weights.pt"),
        "extra_files": f"{inputs / '*.json'},{inputs / 'extra'}",
        "requirements_file": str(inputs / "req.txt"),
        "config_file": str(inputs / "model-config.yaml"),
        "export_path": str(inputs / "out"),
    }
    return ModelArchiverConfig(**(values | changes))  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_round_trip(inputs: Path, archive_format: str) -> None:
    path = archive_model(config(inputs, archive_format=archive_format))
    assert path == output_path("m", inputs / "out", archive_format)
    archive = open_archive(path, inputs / "unpacked")
    files = {
        file.relative_to(archive.model_dir).as_posix()
        for file in archive.model_dir.rglob("*")
        if file.is_file()
    }
    assert files == {
        *(
            "model.py",
            "weights.pt",
            "handler.py",
            "req.txt",
            "model-config.yaml",
            "a.json",
            "b.json",
            "one.txt",
        ),
        MANIFEST,
    }
    assert list(archive.raw_manifest) == ["createdOn", "runtime", "model", "archiverVersion"]
    assert archive.raw_manifest["model"] == {
        "modelName": "m",
        "serializedFile": "weights.pt",
        "handler": "handler.py",
        "modelFile": "model.py",
        "modelVersion": "2.0",
        "requirementsFile": "req.txt",
        "configFile": "model-config.yaml",
    }
    assert [entry.name for entry in (inputs / "out").iterdir()] == [path.name], "no scratch is left"


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz"])
def test_the_same_inputs_give_the_same_bytes(
    inputs: Path, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = archive_model(config(inputs, archive_format=archive_format)).read_bytes()
    (inputs / "handler.py").touch()
    assert archive_model(config(inputs, archive_format=archive_format, force=True)).read_bytes() == first


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        ("image_classifier", "image_classifier"),
        ("{}/handler.py", "handler.py"),
        ("{}/handler:entry", "handler:entry"),
        ("{}/handler.py:entry", "handler:entry"),
    ],
)
def test_handlers(inputs: Path, handler: str, named: str) -> None:
    archive = open_archive(archive_model(config(inputs, handler=handler.format(inputs))), inputs / "unpacked")
    assert archive.manifest.handler == named


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_name": "../m"}, "Model name contains special characters."),
        ({"handler": "nope.py"}, "--handler: File does not exist: nope.py"),
        ({"serialized_file": "nope.pt"}, "--serialized-file: File does not exist: nope.pt"),
        ({"model_file": "/"}, "--model-file: not a file: /"),
        ({"extra_files": "nope*"}, "File does not exist: nope*"),
        ({"export_path": "/nope"}, "Given export-path /nope is not a directory."),
    ],
)
def test_what_cannot_be_archived_is_said(inputs: Path, changes: dict[str, object], text: str) -> None:
    with pytest.raises(ModelArchiverError) as raised:
        archive_model(config(inputs, **changes))
    assert str(raised.value).startswith(text)
    assert not list((inputs / "out").iterdir())


def test_the_command_says_it_in_one_line_and_fails(inputs: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from torchkeeper.archive.archiver import *; sys.exit(torch_model_archiver())",
    ]
    arguments = [
        "--model-name",
        "m",
        "--version",
        "1",
        "--handler",
        "nope.py",
        "--export-path",
        str(inputs / "out"),
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, "ERROR - --handler: File does not exist: nope.py\n")


def test_an_existing_archive_is_kept_unless_forced(inputs: Path) -> None:
    path = archive_model(config(inputs))
    before = path.read_bytes()
    with pytest.raises(ModelArchiverError, match="already exists"):
        archive_model(config(inputs))
    assert path.read_bytes() == before


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
    [(None, "no MAR-INF/MANIFEST.json"), ("{", "cannot be read"), ("[]", "has no object `model`")],
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, content: str | None, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.mar", "w") as packed:
        packed.writestr("x.py", "")
        if content is not None:
            packed.writestr(MANIFEST, content)
    with pytest.raises(ArchiveError, match=r"m\.mar") as raised:
        open_archive(tmp_path / "m.mar", tmp_path / "into")
    assert text in raised.value.message


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
    with pytest.raises(ArchiveError, match="no MAR-INF"):
        open_archive(unpacked(tmp_path / "deep" / "a" / "b").parents[1], tmp_path / "unused")


def test_a_folder_with_two_sub_folders_is_ambiguous(tmp_path: Path) -> None:
    unpacked(tmp_path / "model" / "inner")
    (tmp_path / "model" / "other").mkdir()
    with pytest.raises(ArchiveError, match="no MAR-INF"):
        open_archive(tmp_path / "model", tmp_path / "unused")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = unpacked(tmp_path / "elsewhere")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inner").symlink_to(elsewhere)
    with pytest.raises(ArchiveError, match="no MAR-INF"):
        open_archive(tmp_path / "model", tmp_path / "unused")
