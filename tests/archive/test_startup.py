"""Which archives a start loads: of the configuration, of the command line, or of a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.archive.startup import snapshot_models, startup_models
from torchkeeper.config.model_snapshot import ModelSnapshot, VersionSnapshot, format_model_snapshot
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import SettingsError


def load(folder: Path, text: str = "", **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(**flags), {}, folder)[0]  # type: ignore[arg-type]  # flags by name


def test_start_up_models(tmp_path: Path) -> None:
    for name in ("a.mar", "b.tar.gz", "c.txt", ".hidden.mar"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    every = load(tmp_path, f"model_store={tmp_path}\nload_models=ALL\n")
    assert startup_models(every) == [(None, "a.mar"), (None, "b.tar.gz"), (None, "folder")]
    named = load(tmp_path, models=("x=a.mar,b.tar.gz", ""))
    assert startup_models(named) == [("x", "a.mar"), (None, "b.tar.gz")]
    url = "https://h/a.mar"
    assert startup_models(load(tmp_path, models=(url, f"x={url}", url))) == [(None, url), ("x", url)]
    pinned = load(tmp_path, models=("a.mar#sha256=00", "x=a.mar#sha256=00", "https://h/a.mar?key=1"))
    assert startup_models(pinned) == [
        *((None, "a.mar#sha256=00"), ("x", "a.mar#sha256=00"), (None, "https://h/a.mar?key=1"))
    ]


def test_a_snapshot_says_what_is_loaded_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "kept.mar").touch()
    versions = (VersionSnapshot("m", "1.0", "kept.mar"), VersionSnapshot("m", "2.0", "gone.mar"))
    here, gone = (
        format_model_snapshot(ModelSnapshot("s.cfg", 0, kept)).replace("\n", " ")
        for kept in (versions[:1], versions)
    )
    lines = f"model_store={tmp_path}\nload_models=all\n"
    settings = load(tmp_path, f"{lines}model_snapshot={here}\n")
    assert startup_models(settings) == []
    assert [(kept.name, kept.mar_name) for kept in snapshot_models(settings)] == [("m", "kept.mar")]
    with pytest.raises(SettingsError, match=r"version :2\.0 not found in model store: no gone\.mar"):
        snapshot_models(load(tmp_path, f"{lines}model_snapshot={gone}\n"))


def test_without_a_snapshot_it_names_nothing(tmp_path: Path) -> None:
    assert snapshot_models(load(tmp_path)) == ()
