"""Files with settings of single models that a command line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.cli import torchserve
from torchkeeper.config.config_files import model_configs
from torchkeeper.errors import SettingsError


def test_files_are_found_by_the_models_names(tmp_path: Path) -> None:
    (tmp_path / "a=b.yaml").write_text("batchSize: 8\n")
    found = model_configs(["m=a=b.yaml"], tmp_path)
    assert {name: (one.where, one.found) for name, one in found.items()} == {
        "m": ("a=b.yaml", {"batchSize": 8})
    }
    assert model_configs([], tmp_path) == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["m"], "--model-config m: write NAME=FILE"),
        (["=a.yaml"], "--model-config =a.yaml: write NAME=FILE"),
        (["m=gone.yaml"], "--model-config m=gone.yaml: there is no such file"),
        (["m=."], "--model-config m=.: Is a directory"),
        (["m=a.yaml", "m=a.yaml"], "a.yaml is named for m already"),
        (["m=bad.yaml"], "--model-config m=bad.yaml: batchSize: 0 must be"),
        (["m=latin.yaml"], "--model-config m=latin.yaml: 'utf-8' codec"),
    ],
)
def test_what_does_not_hold_ends_the_start_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    why: str,
) -> None:
    (tmp_path / "a.yaml").write_text("batchSize: 8\n")
    (tmp_path / "bad.yaml").write_text("batchSize: 0\n")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xfc\n")
    with pytest.raises(SettingsError) as caught:
        model_configs(given, tmp_path)
    assert why in caught.value.message
    assert "\n" not in caught.value.message
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert torchserve(["--start", "--ncs", "--model-store", ".", "--model-config", *given]) == 1
    assert f"Invalid configuration: {caught.value.message}" in capsys.readouterr().out
