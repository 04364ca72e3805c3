"""Files and folders are examined as what they are."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch

from torchkeeper.doctor import examine_places
from torchkeeper.doctor.finding import Verdict

WORKS, CHANGED, IGNORED, BROKEN, UNKNOWN = (
    *(Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED),
    *(Verdict.BROKEN, Verdict.UNKNOWN),
)
HANDLER = "def handle(data, context):\n    return data\n"
SCRIPT = "def model_fn(folder):\n    return None\n"


def told(path: Path) -> list[tuple[str, str, Verdict]]:
    return [(one.place, one.what, one.verdict) for one in examine_places([path], {}, path.parent)]


def make(folder: Path, **files: str) -> Path:
    """A folder with these files; `__` in a name is a folder's end, `_` a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def model(name: str = "m") -> str:
    return json.dumps({"model": {"modelName": name, "handler": "h.py"}})


def test_a_folder_of_kserves(tmp_path: Path) -> None:
    folder = make(tmp_path / "models", config__config_properties="model_store=/mnt/models/model-store\n")
    archive = folder / "model-store" / "m"
    make(archive, h_py=HANDLER)
    (archive / "MAR-INF").mkdir()
    (archive / "MAR-INF" / "MANIFEST.json").write_text(model())
    assert told(folder) == [("config.properties:1", "model_store", WORKS), ("m", "archive", WORKS)]
    assert told(folder / "config" / "config.properties")[0] == ("config.properties:1", "model_store", WORKS)
    assert told(archive) == [("m", "archive", WORKS)]


def test_a_folder_of_vertex_ais(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifacts", model_mar="no zip")
    assert told(folder) == [("artifacts", "Vertex AI's model.mar", WORKS), ("model.mar", "archive", BROKEN)]


@pytest.mark.parametrize("place", ["code__inference_py", "inference_py"])
def test_a_model_of_sagemakers(tmp_path: Path, place: str) -> None:
    folder = make(tmp_path / "model", **{place: SCRIPT, "code__helper_py": ""})
    name = place.replace("__", "/").replace("_", ".")
    assert told(folder) == [("model", "SageMaker's model", WORKS)]
    make(folder, **{place: SCRIPT + "import helper, no_such_package\ndef f():\n    import late_package\n"})
    (*_, missing, late) = told(folder)
    assert (missing, late) == (("model", name, BROKEN), ("model", name, UNKNOWN))
    make(folder, **{place: SCRIPT + "def transform_fn(): pass\ndef predict_fn(): pass\n"})
    assert told(folder) == [("model", name, BROKEN)]
    make(folder, **{place: SCRIPT + "x = a" + ".b" * 900})
    assert told(folder) == [("model", name, UNKNOWN)]
    make(folder, **{place: "def model_fn(:\n"})
    assert told(folder) == [("model", name, BROKEN)]


def test_what_a_model_of_sagemakers_needs_installed(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", code__inference_py=SCRIPT, code__requirements_txt="a\n")
    assert told(folder)[1:] == [("model", "code/requirements.txt", CHANGED)]
    make(folder, code__inference_py="import no_such_package\n" + SCRIPT)
    assert told(folder)[2:] == [("model", "code/inference.py", WORKS)]


def test_a_model_of_sagemakers_without_a_script(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.jit.script(torch.nn.Linear(1, 1)).save(folder / "model.pth")
    assert told(folder) == [("model", "SageMaker's model", WORKS)]
    torch.save({"w": torch.ones(1)}, folder / "model.pth")
    assert told(folder) == [("model", "SageMaker's model", BROKEN)]
    make(folder, code__inference_py=SCRIPT)
    torch.save(torch.nn.Linear(1, 1), folder / "model.pth")
    assert told(folder)[1:] == [("model", "model.pth", CHANGED)]


def packed(path: Path, **files: str) -> list[tuple[str, str, Verdict]]:
    folder = make(path.parent / f"of {len(files)} {sum(map(len, files.values()))}", **files)
    with tarfile.open(path, "w:gz") as archive:
        for one in sorted(folder.iterdir()):
            archive.add(one, one.name)
    return told(path)


def test_a_packed_model_of_sagemakers_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    assert packed(path, other_txt="") == [("model.tar.gz", "handler", BROKEN)]
    assert packed(path, code__inference_py=SCRIPT) == [("model.tar.gz", "SageMaker's model", WORKS)]
    (_, missing) = packed(path, code__inference_py=SCRIPT + "import no_such_package\n")
    assert missing == ("model.tar.gz", "code/inference.py", BROKEN)


def test_a_packed_model_that_reaches_outside_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../code/inference.py"))
    assert told(path) == [("model.tar.gz", "archive", BROKEN)]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu", "ts.dockerfile", "Containerfile"])
def test_dockerfiles(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("FROM pytorch/torchserve\n")
    assert told(tmp_path / name) == told(tmp_path) == [(f"{name}:1", "FROM", CHANGED)]


def test_objects(tmp_path: Path) -> None:
    text = "kind: Pod\nspec: {containers: [{image: pytorch/torchserve}]}\n"
    (tmp_path / "pod.yaml").write_text(text)
    assert told(tmp_path / "pod.yaml") == [("pod.yaml", "Pod image", CHANGED)]


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert told(tmp_path / "gone") == [(str(tmp_path / "gone"), "file", BROKEN)]
    assert told(tmp_path / "empty") == [(str(tmp_path / "empty"), "folder", UNKNOWN)]
    (tmp_path / "broken.mar").write_text("")
    assert told(tmp_path / "broken.mar") == [("broken.mar", "archive", BROKEN)]
