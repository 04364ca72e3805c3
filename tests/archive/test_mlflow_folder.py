"""Folders in which MLflow saved a model: what goes into the archive, and what is refused with a hint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_models import mlmodel_text
from torchkeeper.archive.archive import open_archive
from torchkeeper.archive.archiver import ModelArchiverConfig, ModelArchiverError, archive_model
from torchkeeper.archive.mlflow_folder import open_folder, requirements

LISTED = "torch==2.0.1\nMLflow==2.9.2\nmlflow_skinny\ntorchvision==0.15\ncloudpickle\n-c constraints.txt\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole one, code and extra files included; nothing here looks into the model's file."""
    files = {
        "MLmodel": mlmodel_text(code="code", extra_files=[{"path": "extra_files/index_to_name.json"}]),
        "data/model.pth": "model",
        "data/pickle_module_info.txt": "mlflow.pytorch.pickle_module",
        "code/net.py": "import mlflower\n",
        "code/parts/__init__.py": "",
        "code/parts/__pycache__/x.pyc": "",
        "extra_files/index_to_name.json": "{}",
        "requirements.txt": LISTED,
        "constraints.txt": "numpy<3\n",
        "conda.yaml": "dependencies: [python=3.11, {pip: [six, torch]}]",
        "python_env.yaml": "",
    }
    for name, text in files.items():
        path = tmp_path / "run" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "run" / "model"


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Callable[..., tuple[Any, dict[str, str]]]:
    """Archives the folder by these flags: the manifest's object `model`, and the files' texts."""

    def make(**flags: Any) -> tuple[Any, dict[str, str]]:
        given = {"handler": None, "version": None, "from_mlflow": str(folder), **flags}
        path = archive_model(ModelArchiverConfig("m", export_path=str(tmp_path), force=True, **given))
        found = open_archive(path, tmp_path / "unpacked")
        files = {
            file.relative_to(found.model_dir).as_posix(): file.read_text()
            for file in found.model_dir.rglob("*")
            if file.is_file() and "MAR-INF" not in file.parts
        }
        return found.raw_manifest["model"], files

    return make


def test_what_the_archive_holds(made: Any) -> None:
    manifest, files = made()
    assert manifest == {
        "modelName": "m",
        "serializedFile": "model.pth",
        "handler": "mlflow",
        "modelVersion": "1.0",
        "requirementsFile": "requirements.txt",
    }
    assert sorted(files) == [
        *("MLmodel", "code/net.py", "code/parts/__init__.py", "constraints.txt", "index_to_name.json"),
        *("model.pth", "pickle_module_info.txt", "requirements.txt"),
    ]
    assert files["requirements.txt"] == "torchvision==0.15\ncloudpickle\n-c constraints.txt\n"


def test_further_flags_add_and_a_handler_wins(made: Any, tmp_path: Path) -> None:
    for name in ("handler.py", "more.txt", "labels.json", "model-config.yaml"):
        (tmp_path / name).write_text(f"# {name}")
    manifest, files = made(
        handler=str(tmp_path / "handler.py"),
        version="2.1",
        requirements_file=str(tmp_path / "more.txt"),
        extra_files=str(tmp_path / "labels.json"),
        config_file=str(tmp_path / "model-config.yaml"),
    )
    assert (manifest["handler"], manifest["modelVersion"]) == ("handler.py", "2.1")
    assert manifest["configFile"] == "model-config.yaml"
    assert {"handler.py", "labels.json", "MLmodel", "model.pth"} <= files.keys()
    assert files["requirements.txt"].endswith("-c constraints.txt\n# more.txt\n")


def test_a_file_of_the_handlers_name_is_not_meant(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.py").write_text("")
    manifest, files = made()
    assert (manifest["handler"], "mlflow.py" in files) == ("mlflow", False)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"serialized_file": "x.pth"}, "--serialized-file and --from-mlflow exclude each other"),
        ({"model_file": "x.py"}, "--model-file and --from-mlflow exclude each other"),
        ({"runtime": "LSP"}, "--runtime LSP and --from-mlflow exclude each other"),
        ({"requirements_file": "gone.txt"}, "--requirements-file: File does not exist: gone.txt"),
        ({"from_mlflow": "runs:/1/model"}, "mlflow artifacts download --artifact-uri runs:/1/model"),
        ({"from_mlflow": "models:/m/1"}, "mlflow artifacts download"),
        ({"from_mlflow": "s3://bucket/model"}, "mlflow artifacts download"),
        ({"from_mlflow": "gone"}, "no MLmodel is in gone"),
    ],
)
def test_what_makes_no_sense_is_said(made: Any, flags: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelArchiverError) as raised:
        made(**flags)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("MLmodel", mlmodel_text(flavors={"sklearn": {}}), "has the flavors sklearn"),
        ("MLmodel", mlmodel_text(code="gone"), "gone is not there, and MLmodel names it"),
        ("MLmodel", mlmodel_text(model_data="other"), "neither model.pth nor model.pt2 is in"),
        ("MLmodel", mlmodel_text(extra_files=[{"path": "code/MLmodel"}]), "the name of another file"),
        ("conda.yaml", "a: [", "is no YAML"),
    ],
)
def test_a_folder_that_is_not_whole(made: Any, folder: Path, name: str, text: str, why: str) -> None:
    (folder / name).write_text(text)
    if name == "conda.yaml":
        (folder / "requirements.txt").unlink()
    with pytest.raises(ModelArchiverError) as raised:
        made()
    assert why in str(raised.value) or name == "conda.yaml"


def test_the_folder_above_names_those_that_are_meant(made: Any, folder: Path) -> None:
    with pytest.raises(ModelArchiverError, match="there is one in model"):
        made(from_mlflow=str(folder.parent))


def test_a_file_uri(folder: Path) -> None:
    assert open_folder(folder.as_uri()).path == folder
    spaced = folder.rename(folder.with_name("my model"))
    assert open_folder(spaced.as_uri()).path == spaced


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["torchvision==0.15", "cloudpickle", "-c constraints.txt"]),
        ({"requirements.txt": None}, ["six"]),
        ({"requirements.txt": None, "conda.yaml": None}, []),
        ({"requirements.txt": "\n# own\nMLFLOW[extras]>=2\n"}, ["# own"]),
        (
            {"code/net.py": "x = 1\nfrom mlflow import log_metric\n", "requirements.txt": "mlflow\ntorch"},
            ["mlflow"],
        ),
        (
            {
                "MLmodel": mlmodel_text(requirements_file={"path": "requirements/own.txt"}),
                "requirements/own.txt": "six",
            },
            ["six"],
        ),
    ],
)
def test_requirements(folder: Path, changes: dict[str, str | None], lines: list[str]) -> None:
    for name, text in changes.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    assert requirements(open_folder(str(folder))) == lines


def test_the_command(folder: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "torch-model-archiver", "--model-name", "m"]
    subprocess.run([*command, "--from-mlflow", folder, "--export-path", tmp_path], check=True)
    assert (tmp_path / "m.mar").is_file()
    said = subprocess.run([*command, "--from-mlflow", tmp_path], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (1, f"ERROR - no MLmodel is in {tmp_path}\n")
