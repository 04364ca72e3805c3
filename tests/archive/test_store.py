"""Where names of the model store lead: one rule for registration, snapshots, start-up and the doctor."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from torchkeeper.archive.reach import Reach
from torchkeeper.archive.source import Source
from torchkeeper.archive.startup import snapshot_models, startup_models
from torchkeeper.archive.store import find_at_start, find_stored, stored_names
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.config.snapshot import ModelSnapshot, VersionSnapshot, format_model_snapshot
from torchkeeper.doctor.configuration import examine_properties, examine_store
from torchkeeper.doctor.finding import Verdict
from torchkeeper.errors import ModelNotAt, SettingsError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store as Kubernetes mounts one, with links that lead out of it, and files outside."""
    outside = tmp_path / "cache"
    (outside / "folder").mkdir(parents=True)
    for name in ("5f3a", "secret.mar"):
        (outside / name).touch()
    store = tmp_path / "model_store"
    data = store / "..2026_01_01"
    data.mkdir(parents=True)
    (data / "mounted.mar").touch()
    (store / "..data").symlink_to("..2026_01_01")
    (store / "mounted.mar").symlink_to("..data/mounted.mar")
    (store / "linked.mar").symlink_to(outside / "5f3a")
    (store / "folder").symlink_to(outside / "folder")
    (store / "team").mkdir()
    (store / "team" / "linked.model").symlink_to(outside / "5f3a")
    (store / "broken.mar").symlink_to(outside / "gone")
    (store / "plain.mar").touch()
    (store / ".quarantine-1f").touch()
    (store / ".quarantine-2f").mkdir()
    (store / ".quarantine-2f" / "hidden.mar").touch()
    return store


FOUND = [
    ("plain.mar", "plain.mar"),
    ("./plain.mar", "plain.mar"),
    ("mounted.mar", "mounted.mar"),
    ("linked.mar", "linked.mar"),
    ("folder", "folder"),
    ("team/linked.model", "team/linked.model"),
    ("elsewhere/plain.mar", "plain.mar"),
    ("/opt/models/plain.mar", "plain.mar"),
]
REFUSED = [
    "",
    ".",
    "/",
    "..",
    "broken.mar",
    "absent.mar",
    ".quarantine-1f",
    "./.quarantine-1f",
    "elsewhere/.quarantine-1f",
    "/opt/models/.quarantine-1f",
    ".quarantine-2f/hidden.mar",
    "../cache/secret.mar",
    "team/../../cache/secret.mar",
    "..data/../../cache/secret.mar",
    "/cache/secret.mar",
    "http://host/plain.mar",
    "x" * 300,
    "plain.mar\0",
]


@pytest.mark.parametrize(("name", "expected"), FOUND)
def test_what_a_name_leads_to(store: Path, name: str, expected: str) -> None:
    found = find_stored(store, name)
    assert found is not None
    assert (found.path, found.name) == (store / expected, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_what_leads_nowhere_or_out(store: Path, name: str) -> None:
    assert find_stored(store, name) is None


def test_an_absolute_path_of_the_store(store: Path) -> None:
    found = find_stored(store, str(store / "team" / "linked.model"))
    assert found is not None
    assert found.name == "team/linked.model"


@pytest.mark.parametrize("name", [*(name for name, _ in FOUND), *REFUSED[1:-1]])
def test_all_who_ask_get_the_same_answer(tmp_path: Path, store: Path, name: str) -> None:
    config = tmp_path / "config.properties"
    snapshot = ModelSnapshot("kept.cfg", 0, (VersionSnapshot("kept", "1.0", name),))
    config.write_text(f"model_snapshot={format_model_snapshot(snapshot)}\n".replace("\n", " "))
    settings, _ = load_settings(CommandLine(model_store=store, no_config_snapshots=True), {}, tmp_path)
    found = find_stored(store, name)
    _, setup = examine_properties(config.read_text(), "config.properties", {})
    (finding,) = examine_store(setup, store, "config.properties")
    if found is not None:
        assert [kept.mar_name for kept in snapshot_models(settings)] == [name]
        assert Source(store, Reach(())).fetch(name).path == found.path
        assert finding.verdict is Verdict.WORKS
        return
    with pytest.raises(SettingsError, match="not found in model store"):
        snapshot_models(settings)
    with pytest.raises(ModelNotAt):
        Source(store, Reach(())).fetch(name)
    assert finding.verdict is Verdict.BROKEN


def test_a_folder_anywhere_is_taken_from_those_who_start_the_server(tmp_path: Path, store: Path) -> None:
    """As SageMaker's toolkit names /opt/ml/model; a request may not lead out of the store."""
    folder = tmp_path / "cache" / "folder"
    name = str(folder)
    found = find_at_start(store, name)
    assert found is not None
    assert (found.path, found.name) == (folder, name)
    assert Source(store, Reach(())).fetch(name, at_start=True).path == folder
    assert Source(store, Reach(())).fetch(name).path == store / "folder"
    snapshot = ModelSnapshot("kept.cfg", 0, (VersionSnapshot("kept", "1.0", name),))
    config = tmp_path / "config.properties"
    config.write_text(f"model_snapshot={format_model_snapshot(snapshot)}\n".replace("\n", " "))
    settings, _ = load_settings(CommandLine(model_store=store, no_config_snapshots=True), {}, tmp_path)
    assert [kept.mar_name for kept in snapshot_models(settings)] == [name]
    _, setup = examine_properties(f"load_models=model={name}\n", "config.properties", {})
    assert [one.verdict for one in examine_store(setup, store, "")] == [Verdict.WORKS]


@pytest.mark.parametrize(
    "name", ["/", "{}", "{}/secret.mar", "{}/gone", "{}/../cache", "{}\0", "cache", "./cache"]
)
def test_what_is_no_folder_elsewhere_is_looked_for_in_the_store(
    tmp_path: Path, store: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = store if name != "{}" else tmp_path / "cache"
    name = name.format(tmp_path / "cache")
    assert find_at_start(store, name) == find_stored(store, name)


def test_all_of_the_store(tmp_path: Path, store: Path) -> None:
    names = ["broken.mar", "folder", "linked.mar", "mounted.mar", "plain.mar", "team"]
    assert stored_names(store) == names
    command_line = CommandLine(model_store=store, models=("all",), no_config_snapshots=True)
    settings, _ = load_settings(command_line, {}, tmp_path)
    assert startup_models(settings) == [(None, name) for name in names]


def test_what_is_not_checked_yet_is_not_there(tmp_path: Path, store: Path) -> None:
    """While an archive is fetched, no name of the store leads to it."""
    source = Source(store, Reach((re.compile("file://.*"),)))
    fetched = source.fetch((tmp_path / "cache" / "secret.mar").as_uri())
    for name in (fetched.path.name, str(fetched.path), fetched.name):
        assert find_stored(store, name) is None
    fetched.keep()
    assert find_stored(store, "secret.mar") is not None


def test_a_link_to_the_store_itself(tmp_path: Path, store: Path) -> None:
    link = tmp_path / "link"
    os.symlink(store, link)
    found = find_stored(link, "linked.mar")
    assert found is not None
    assert found.path.exists()
