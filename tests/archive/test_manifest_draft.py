"""The manifest's text: keys, their order, and the names of files."""

from __future__ import annotations

import json

import pytest

from torchkeeper.archive.manifest_draft import ManifestDraft, ModelDraft, RuntimeType, handler_name


def test_only_what_is_given_is_named_and_without_folders() -> None:
    assert ModelDraft("m", None, "base_handler").model_dict == {"modelName": "m", "handler": "base_handler"}
    whole = ModelDraft("m", "a/w.pt", "b/h.py", "c/m.py", "2.0", {"k": 1}, "d/r.txt", "e/c.yaml")
    assert json.loads(str(whole)) == {
        "modelName": "m",
        "serializedFile": "w.pt",
        "handler": "h.py",
        "modelFile": "m.py",
        "modelVersion": "2.0",
        "extensions": {"k": 1},
        "requirementsFile": "r.txt",
        "configFile": "c.yaml",
    }


def test_a_manifest_is_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    draft = ManifestDraft("python3", ModelDraft("m", None, "h.py"))
    assert draft.runtime is RuntimeType.PYTHON3
    assert list(json.loads(repr(draft))) == ["createdOn", "runtime", "model", "archiverVersion"]
    assert draft.manifest_dict["createdOn"] == draft.creation_time == "01/01/1970 00:00:00"
    with pytest.raises(ValueError, match="'java' is not a valid RuntimeType"):
        ManifestDraft("java", draft.model)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("base_handler", "base_handler"),
        ("a/h.py", "h.py"),
        ("a/h", "h"),
        ("a/h:f", "h:f"),
        ("a/h.py:f", "h:f"),
        ("a/my.h:f", "my.h:f"),
    ],
)
def test_handlers_are_named_without_folder(given: str, named: str) -> None:
    assert handler_name(given) == named
