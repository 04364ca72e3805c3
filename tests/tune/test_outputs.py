"""What a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from measuring import SUBJECT, measured  # type: ignore[import-not-found]  # pytest puts this folder on the path

from servers import make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.archive.archive import open_archive
from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.outputs import Outputs, write_outputs
from torchkeeper.tune.repacking import digest_of_file, open_tuned
from torchkeeper.tune.results import Measurement, TuneResults
from torchkeeper.tune.verdict import conclude
from torchkeeper.wire.agreement import Check
from torchkeeper.wire.execution import Execution

HANDLER = "def handle(data, context):\n    return data\n"
OWN = "batchSize: 8\nhandler: {colour: blue}\n"
FAST = Candidate(execution=Execution(threads=1, memory_format="channels_last"), workers=2, batch_size=16)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return make_archive(tmp_path / "store", "m", HANDLER, config=OWN)


def written(
    archive: Path, measurements: list[Measurement], *, write: bool = False, changed: bytes = b""
) -> list[str]:
    folder = archive.parent.parent / "out"
    folder.mkdir()
    source = open_tuned(archive, folder / "unpacked")
    results = TuneResults(msgspec.structs.replace(SUBJECT, digest=source.digest), measurements=measurements)
    where = Outputs(folder, archive.parent / "m.yaml", source, {"1.txt": b"one"}, write)
    if changed:
        archive.write_bytes(changed)
    return write_outputs(where, results, conclude(results, None, Check(), ""))


def test_a_winner_leaves_settings_results_and_a_report(archive: Path) -> None:
    before = archive.read_bytes()
    said = written(archive, [measured(FAST, 64, 3)])
    assert any(f"--model-config m={archive.parent / 'm.yaml'}" in one for one in said)
    assert yaml.safe_load((archive.parent / "m.yaml").read_text()) == {
        **FAST.config(),
        "tunedFor": {"cores": 2, "features": ["avx2"]},
    }
    folder = archive.parent.parent / "out"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert b'"winner": {' in (folder / "results.json").read_bytes()
    assert archive.read_bytes() == before


def test_without_a_winner_there_is_no_settings_file(archive: Path) -> None:
    before = archive.read_bytes()
    written(archive, [], write=True)
    assert not (archive.parent / "m.yaml").exists()
    assert archive.read_bytes() == before
    assert (archive.parent.parent / "out" / "report.html").exists()


def test_the_archive_gets_settings_and_samples_and_keeps_all_else(archive: Path, tmp_path: Path) -> None:
    archive.chmod(0o640)
    before = digest_of_file(archive)
    Path(f"{archive}.sig").write_text("{}")
    said = "\n".join(written(archive, [measured(FAST, 64, 3)], write=True))
    assert f"its sha256 was {before} and is {digest_of_file(archive)}" in said
    assert "m-1.0.mar.sig was made for the archive as it was: it is to be signed again" in said
    assert archive.stat().st_mode & 0o777 == 0o640
    again = open_archive(archive, tmp_path / "again")
    config = yaml.safe_load((again.model_dir / "model-config.yaml").read_text())
    assert config["handler"] == {"colour": "blue"}
    assert (config["batchSize"], config["execution"]) == (16, {"threads": 1, "memoryFormat": "channels_last"})
    assert (again.model_dir / "warmup" / "1.txt").read_bytes() == b"one"
    assert (again.model_dir / "m_handler.py").read_text() == HANDLER


def test_an_archive_that_is_a_link_stays_one(archive: Path) -> None:
    place = archive.rename(archive.parent.parent / "elsewhere.mar")
    archive.symlink_to(place)
    before = digest_of_file(place)
    written(archive, [measured(FAST, 64, 3)], write=True)
    assert archive.is_symlink()
    assert digest_of_file(place) != before


def test_an_archive_that_was_changed_meanwhile_is_left_as_it_is(archive: Path) -> None:
    said = written(archive, [measured(FAST, 64, 3)], write=True, changed=b"another")
    assert said[-1].endswith("was changed meanwhile, and so is left as it is")
    assert archive.read_bytes() == b"another"


@pytest.mark.parametrize("write", [True, False])
def test_what_compiles_is_told_to_need_samples(archive: Path, write: bool) -> None:
    compiled = Candidate(execution=Execution(threads=1, aot=True), batch_size=16)
    said = "\n".join(written(archive, [measured(compiled, 64, 3)], write=write))
    text = (archive.parent / "m.yaml").read_text()
    assert ("Compiling needs samples" in said) == ("Compiling needs samples" in text) == (not write)
