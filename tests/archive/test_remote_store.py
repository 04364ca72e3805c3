"""A model store in a bucket: its archives come when they are asked for, and go with the server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from object_store import ObjectStore, object_store
from torchkeeper.archive.reach import Reach
from torchkeeper.archive.remote_store import archives_in, local_store
from torchkeeper.archive.source import Source
from torchkeeper.archive.startup import snapshot_models, startup_models
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.errors import ArchiveError, DownloadFailed, ModelNotAt

URL = "gs://bucket/models/"
PIN = hashlib.sha256(b"a").hexdigest()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store() as store:
        for name in ("a.mar", "b.tar.gz", "notes.txt", ".hidden.mar", "deep/c.mar"):
            store.objects[f"/bucket/models/{name}"] = name[:1].encode()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        yield store


def test_its_archives_are_listed(bucket: ObjectStore, tmp_path: Path) -> None:
    assert archives_in(URL) == ["a.mar", "b.tar.gz"]
    every, _ = load_settings(CommandLine(model_store=URL, models=("all",)), {}, tmp_path)
    assert startup_models(every) == [(None, "a.mar"), (None, "b.tar.gz")]
    assert snapshot_models(every) == ()


def test_an_archive_is_fetched_once_and_checked(bucket: ObjectStore, tmp_path: Path) -> None:
    source = Source(tmp_path, Reach(()), URL)
    fetched = source.fetch(f"a.mar#sha256={PIN}")
    assert fetched.path.read_bytes() == b"a"
    assert not (tmp_path / "a.mar").exists()
    fetched.keep()
    assert source.fetch("a.mar").path == tmp_path / "a.mar"
    assert len(bucket.asked) == 1
    with pytest.raises(ArchiveError, match="not the pinned"):
        source.fetch(f"b.tar.gz#sha256={PIN}")
    with pytest.raises(DownloadFailed, match=r"gs://bucket/models/gone\.mar"):
        source.fetch("/elsewhere/gone.mar")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mar"]


@pytest.mark.parametrize("name", ["a.mar", "gs://bucket/models/a.mar"])
def test_a_signature_comes_with_its_archive_if_there_is_one(
    bucket: ObjectStore, tmp_path: Path, name: str
) -> None:
    source = Source(tmp_path, Reach((re.compile(r"gs://.*\.mar"),)), URL, signatures=True)
    fetched = source.fetch(name)
    assert fetched.signature is None
    fetched.discard()
    bucket.objects["/bucket/models/a.mar.sig"] = b"signed"
    source.fetch(name).keep()
    assert (tmp_path / "a.mar.sig").read_bytes() == b"signed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mar", "a.mar.sig"]
    assert archives_in(URL) == ["a.mar", "b.tar.gz"]


def test_other_urls_must_still_be_allowed(bucket: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ModelNotAt):
        Source(tmp_path, Reach(()), URL).fetch("gs://bucket/models/a.mar")


def test_an_archive_is_found_by_the_models_name(bucket: ObjectStore, tmp_path: Path) -> None:
    source = Source(tmp_path, Reach(()), URL)
    assert [source.named(name) for name in ("a", "b", "c")] == ["a.mar", "b.tar.gz", None]
    (tmp_path / "d.mar").touch()
    assert Source(tmp_path, Reach(())).named("d") == "d.mar"


def test_its_archives_have_a_folder_as_long_as_the_server_lives(tmp_path: Path) -> None:
    environ = {"TEMP": str(tmp_path)}
    remote, _ = load_settings(CommandLine(model_store=URL), environ, tmp_path)
    with local_store(remote) as settings:
        assert settings.store.parent == tmp_path
        (settings.store / "a.mar").touch()
    assert not list(tmp_path.iterdir())
    here, _ = load_settings(CommandLine(model_store=tmp_path), environ, tmp_path)
    with local_store(here) as settings:
        assert settings is here
