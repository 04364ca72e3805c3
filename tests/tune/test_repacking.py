"""An archive is read once and written again with other settings and with samples."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import yaml

from servers import make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.archive.archive import open_archive
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.repacking import config_text, digest_of_file, open_tuned, write_tuned

HANDLER = "def handle(data, context):\n    return data\n"
OWN = """
batchSize: 8
minWorkers: 3
execution: {threads: 4, warmup: [own.txt]}
handler: {colour: blue}
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return make_archive(tmp_path / "store", "m", HANDLER, config=OWN)


def test_what_is_tuned_takes_the_place_of_the_archives_own_and_all_else_stays(
    archive: Path, tmp_path: Path
) -> None:
    source = open_tuned(archive, tmp_path / "unpacked")
    assert (source.model_name, source.scripted, source.brings_samples) == ("m", None, True)
    config = source.merged({"batchSize": 64, "execution": {"dtype": "bfloat16"}})
    assert config == {
        "handler": {"colour": "blue"},
        "batchSize": 64,
        "execution": {"dtype": "bfloat16", "warmup": ["own.txt"]},
    }
    assert source.merged({"batchSize": 1}) == {"handler": {"colour": "blue"}, "batchSize": 1}


def test_a_trial_refuses_nothing_of_its_load(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    refusing = (
        "useJobTicket: true\njobQueueSize: 1\njobQueueBytes: 1\nlatencyTarget: 1\nclientTimeoutInMills: 1\n"
        "batchCost: X-Tokens\nmaxBatchCost: 1\nbatchBy: shape\n"
    )
    made = make_archive(tmp_path / "store", "m", HANDLER, config=f"{refusing}handler: {{colour: blue}}\n")
    source = open_tuned(made, tmp_path / "unpacked")
    assert source.on_trial({"batchSize": 64}) == {"handler": {"colour": "blue"}, "batchSize": 64}
    assert source.merged({"batchSize": 64}) == {**source.config, "batchSize": 64}


def test_it_is_written_again_with_samples(archive: Path, tmp_path: Path) -> None:
    source = open_tuned(archive, tmp_path / "unpacked")
    target = tmp_path / "again.mar"
    write_tuned(source, target, config_text({"batchSize": 2}), {"1.txt": b"one"}, packed=True)
    again = open_archive(target, tmp_path / "unpacked-again")
    assert again.raw_manifest["model"] == source.archive.raw_manifest["model"]
    assert (again.model_dir / "warmup" / "1.txt").read_bytes() == b"one"
    assert yaml.safe_load((again.model_dir / "model-config.yaml").read_text()) == {"batchSize": 2}
    assert (again.model_dir / "m_handler.py").read_text() == HANDLER
    with zipfile.ZipFile(target) as packed:
        assert {entry.compress_type for entry in packed.infolist()} == {zipfile.ZIP_DEFLATED}


def test_its_own_files_stay_beside_samples_of_the_same_names(archive: Path, tmp_path: Path) -> None:
    own = {"warmup/1.txt": b"its own", "warmup/00-1.txt": b"too", "MAR-INF/notes.txt": b"notes"}
    with zipfile.ZipFile(archive, "a") as packed:
        for name, content in own.items():
            packed.writestr(name, content)
    source = open_tuned(archive, tmp_path / "unpacked")
    target = tmp_path / "again.mar"
    write_tuned(source, target, "batchSize: 2\n", {"1.txt": b"one", "2.txt": b"two"}, packed=True)
    with zipfile.ZipFile(target) as packed:
        added = {"warmup/01-1.txt": b"one", "warmup/2.txt": b"two"}
        assert {name: packed.read(name) for name in own | added} == own | added
        assert len(set(packed.namelist())) == len(packed.namelist())
    again = open_tuned(target, tmp_path / "unpacked-again")
    write_tuned(again, target, "batchSize: 2\n", {"2.txt": b"two"}, packed=True)
    with zipfile.ZipFile(target) as packed:
        assert sorted(name for name in packed.namelist() if name.startswith("warmup/")) == sorted(
            name for name in own | added if name.startswith("warmup/")
        )


def test_an_archive_without_settings_gets_some(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    source = open_tuned(make_archive(tmp_path / "store", "m", HANDLER), tmp_path / "unpacked")
    write_tuned(source, tmp_path / "again.mar", "batchSize: 2\n", {}, packed=False)
    again = open_tuned(tmp_path / "again.mar", tmp_path / "unpacked-again")
    assert again.config == {"batchSize": 2}
    assert not again.brings_samples


def test_the_digest_is_of_all_that_is_in_it(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    open_archive(archive, folder)
    before = digest_of_file(folder)
    (folder / "more").write_bytes(b"")
    assert len({before, digest_of_file(folder), digest_of_file(archive)}) == 3


@pytest.mark.parametrize(
    ("name", "why"), [("gone.mar", "is not there"), ("no.mar", "cannot be read"), ("bare", "no MAR-INF")]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "no.mar").write_bytes(b"no zip")
    (tmp_path / "bare").mkdir()
    with pytest.raises(TuneRefused, match=why):
        open_tuned(tmp_path / name, tmp_path / "unpacked")


def test_an_archive_that_says_itself_how_it_is_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    made = make_archive(tmp_path / "store", "m", HANDLER, config="pt2: inductor\n")
    with pytest.raises(TuneRefused, match="has pt2"):
        open_tuned(made, tmp_path / "unpacked")
