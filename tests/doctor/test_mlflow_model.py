"""The doctor's words on models that MLflow saved, from their folder and from their archive."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlflow_models import COLUMNS, mlmodel_text, save, save_with_code
from torchkeeper.archive.archiver import ModelArchiverConfig, archive_model
from torchkeeper.doctor import Finding, Verdict, examine, examine_places

WORKS, BROKEN, UNKNOWN = Verdict.WORKS, Verdict.BROKEN, Verdict.UNKNOWN


def found(folder: Path) -> list[tuple[str, Verdict, str]]:
    findings = examine_places([folder], {}, folder.parent)
    assert {one.place for one in findings} == {folder.name}
    return [(one.what, one.verdict, one.why) for one in findings]


def in_archive(folder: Path, properties: str = "") -> list[Finding]:
    """What is said of the archive of a folder, in a store."""
    store = folder.parent / "store"
    store.mkdir()
    config = {"handler": None, "version": None, "from_mlflow": str(folder)}
    archive_model(ModelArchiverConfig("m", export_path=str(store), **config))  # type: ignore[arg-type]
    (folder.parent / "config.properties").write_text(properties)
    findings = examine(folder.parent / "config.properties", store, {}, folder.parent)
    return [one for one in findings if one.place == "m.mar"]


def test_a_pickled_model(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", torch.nn.Linear(3, 2), COLUMNS)
    (first, second) = found(folder)
    assert first[:2] == ("MLflow's model", WORKS)
    assert "torch-model-archiver --from-mlflow saved makes an archive of it" in first[2]
    assert second[:2] == ("serialized file", WORKS)
    assert "model.pth is code (a pickle runs what is in it)" in second[2]
    assert [(one.what, one.verdict) for one in in_archive(folder)] == [
        ("archive", WORKS),
        ("serialized file", WORKS),
    ]


def test_other_forms(tmp_path: Path) -> None:
    script = torch.jit.script(torch.nn.Linear(3, 2))  # type: ignore[no-untyped-call]
    assert "is TorchScript, which" in found(save(tmp_path / "script", script))[1][2]
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(2, 3),))
    assert "model.pt2 is code" in found(save(tmp_path / "program", program))[1][2]


def test_what_the_models_own_code_lacks(tmp_path: Path) -> None:
    folder = save_with_code(tmp_path / "saved", "Seen")
    assert [verdict for _, verdict, _ in found(folder)] == [WORKS, WORKS]
    with (folder / "code" / "seen_module.py").open("a") as file:
        file.write("import gone_of_this_test\n")
    (folder / "code" / "other.py").write_text("import lost_of_this_test\n")
    told = {what: (verdict, why) for what, verdict, why in found(folder)}
    assert told["code/seen_module.py"][0] is BROKEN
    assert "imports gone_of_this_test" in told["code/seen_module.py"][1]
    assert told["code/other.py"][0] is UNKNOWN


def test_what_the_pickle_lacks(tmp_path: Path) -> None:
    folder = save_with_code(tmp_path / "saved", "Left")
    (folder / "code" / "left_module.py").unlink()
    (folder / "code" / "kept.py").write_text("")
    _, (what, verdict, why) = found(folder)
    assert (what, verdict) == ("serialized file", BROKEN)
    assert why.startswith("model.pth needs left_module, which is not installed")
    (_, weights) = in_archive(folder, "install_py_dep_per_model=true\n")
    assert weights.verdict is WORKS
    assert "requirements.txt must bring left_module" in weights.why


def test_a_class_of_the_script_that_saved_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("Main", (torch.nn.Linear,), {"__module__": "__main__"})
    monkeypatch.setattr("__main__.Main", kind, raising=False)
    _, (_, verdict, why) = found(save(tmp_path / "saved", kind(3, 2)))
    assert verdict is BROKEN
    assert "names classes of the script that saved it" in why


def test_models_that_are_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "MLmodel").write_text(mlmodel_text(flavors={"xgboost": {}, "python_function": {}}))
    ((what, verdict, why),) = found(folder)
    assert (what, verdict) == ("MLflow's model", BROKEN)
    assert "MLmodel has the flavors xgboost, and only models of the flavor pytorch are served" in why


def test_an_archive_without_mlmodel(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", torch.nn.Linear(3, 2), COLUMNS)
    findings = in_archive(folder)
    assert findings
    (tmp_path / "m" / "MAR-INF").mkdir(parents=True)
    (tmp_path / "m" / "w.pth").write_bytes((folder / "data" / "model.pth").read_bytes())
    text = '{"model": {"modelName": "m", "handler": "mlflow", "serializedFile": "w.pth"}}'
    (tmp_path / "m" / "MAR-INF" / "MANIFEST.json").write_text(text)
    ((_, verdict, why),) = found(tmp_path / "m")
    assert verdict is BROKEN
    assert why.startswith("mlflow cannot read MLmodel")
