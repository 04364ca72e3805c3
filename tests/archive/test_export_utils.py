"""Archives made from Python, as export scripts of other projects make them."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from model_archiver.model_archiver_error import ModelArchiverError
from model_archiver.model_packaging_utils import ModelExportUtils
from torchkeeper.archive.archive import FORMATS, MANIFEST, open_archive

#: Makes an archive of a configuration file as model file, from a Namespace that knows no config_file.
SCRIPT = """
import argparse, json, sys
from model_archiver.model_packaging import package_model
from model_archiver.model_packaging_utils import ModelExportUtils

args = argparse.Namespace(
    model_name="detector", version="1.0", handler="boxes.py", model_file="settings.py",
    serialized_file="w.pth", export_path=sys.argv[1], extra_files=None, requirements_file=None,
    runtime="python",
    force=True, archive_format="default",
)
manifest = json.loads(ModelExportUtils.generate_manifest_json(args))
manifest["model"]["extensions"] = {"stamped": True}
package_model(args, json.dumps(manifest))
"""


def test_a_script_makes_an_archive_with_the_manifest_that_it_wrote(tmp_path: Path) -> None:
    for name, text in (("boxes.py", "import os\n"), ("settings.py", "classes = 2\n"), ("w.pth", "w")):
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    archive = open_archive(tmp_path / "detector.mar", tmp_path / "unpacked")
    assert archive.raw_manifest["model"] == {
        "modelName": "detector",
        "serializedFile": "w.pth",
        "handler": "boxes.py",
        "modelFile": "settings.py",
        "modelVersion": "1.0",
        "extensions": {"stamped": True},
    }
    assert (archive.model_dir / "settings.py").read_text() == "classes = 2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's files, with a package among them and what no archive wants."""
    folder = tmp_path / "model"
    for name in ("h.py", "lib/part.py", "lib/__pycache__/part.pyc", ".git/HEAD"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("archive_format", FORMATS)
def test_step_by_step(folder: Path, tmp_path: Path, archive_format: str) -> None:
    out = str(tmp_path / "out")
    ModelExportUtils.make_dir(out)
    ModelExportUtils.validate_inputs("m", out)
    assert ModelExportUtils.check_mar_already_exists("m", out, False, archive_format) == out
    copied = ModelExportUtils.copy_artifacts(
        "m", "python", handler=str(folder / "h.py"), extra_files=str(folder / "lib"), model_file=None
    )
    manifest = json.dumps({"model": {"modelName": "m", "handler": "h.py"}})
    ModelExportUtils.archive(out, "m", copied, manifest, archive_format)
    path = Path(ModelExportUtils.get_archive_export_path(out, "m", archive_format))
    archive = open_archive(path, tmp_path / "unpacked")
    assert {file.name for file in archive.model_dir.rglob("*") if file.is_file()} == {
        *("h.py", "part.py", Path(MANIFEST).name)
    }
    with pytest.raises(ModelArchiverError, match="already exists"):
        ModelExportUtils.check_mar_already_exists("m", out, False, archive_format)
    ModelExportUtils.check_mar_already_exists("m", out, True, archive_format)


def test_a_folder_becomes_an_archive_where_it_lies(folder: Path) -> None:
    ModelExportUtils.archive(str(folder.parent), "model", str(folder), '{"model": {}}', "no-archive")
    assert (folder / MANIFEST).read_text() == '{"model": {}}'
    assert (folder / "lib" / "part.py").exists()
    assert (folder / ".git" / "HEAD").exists(), "what no archive wants is still the user's"


@pytest.mark.parametrize("archive_format", ["default", "tgz"])
def test_a_folder_archived_twice_in_itself(folder: Path, tmp_path: Path, archive_format: str) -> None:
    (folder / "MAR-INF").mkdir()
    (folder / MANIFEST).write_text('{"model": {"modelName": "old"}}')
    for _ in range(2):
        ModelExportUtils.archive(str(folder), "m", str(folder), '{"model": {}}', archive_format)
    path = Path(ModelExportUtils.get_archive_export_path(str(folder), "m", archive_format))
    archive = open_archive(path, tmp_path / "unpacked")
    assert archive.raw_manifest == {"model": {}}
    assert sorted(entry.name for entry in archive.model_dir.iterdir()) == ["MAR-INF", "h.py", "lib"]


def test_a_folder_is_added_to_what_is_open(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        ModelExportUtils.archive_dir(str(folder), packed, "default", "m")
        assert sorted(packed.namelist()) == ["h.py", "lib/part.py"]
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        ModelExportUtils.archive_dir(str(folder), tar, "tgz", "m")
        assert sorted(tar.getnames()) == ["m/h.py", "m/lib/part.py"]
    ModelExportUtils.archive_dir(str(folder), str(tmp_path / "copy"), "no-archive", "m")
    assert (tmp_path / "copy" / "lib" / "part.py").is_file()


def test_small_steps(tmp_path: Path) -> None:
    assert ModelExportUtils.find_unique(["a.pt", "b.py"], ".pt") == "a.pt"
    assert ModelExportUtils.find_unique(["a.pt"], ".py") is None
    with pytest.raises(ModelArchiverError, match=r"one \.pt file is expected, there are 2"):
        ModelExportUtils.find_unique(["a.pt", "b.pt"], ".pt")
    for name in ("one", "two"):
        (tmp_path / name).touch()
    ModelExportUtils.clean_temp_files([str(tmp_path / "one"), str(tmp_path / "two")])
    assert not list(tmp_path.iterdir())
    assert ModelExportUtils.directory_filter("lib", {"tmp"})
    assert not ModelExportUtils.directory_filter("tmp", {"tmp"})
    assert not ModelExportUtils.directory_filter(".git", set())
    wanted = [
        name
        for name in ("a.py", "MANIFEST.json", "b.pyc", "c.mar", "d.py")
        if ModelExportUtils.file_filter(name, {"d.py"})
    ]
    assert wanted == ["a.py"]
    with pytest.raises(ModelArchiverError, match="special characters"):
        ModelExportUtils.check_model_name_regex_or_exit("a b")


@pytest.mark.parametrize("config", [{"serialized_file": "nope.pt"}, {"handler": "nope.py"}])
def test_copying_what_is_not_there_is_an_error(config: dict[str, str]) -> None:
    with pytest.raises(FileNotFoundError):
        ModelExportUtils.copy_artifacts("m", "python", **config)
