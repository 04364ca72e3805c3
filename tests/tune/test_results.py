"""Results are kept, and gone on with where they are of the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from measuring import SUBJECT, measured  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.cost import BatchCost
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.results import (
    CandidateOut,
    LoadKind,
    Subject,
    TuneResults,
    VariantCost,
    Winner,
    resumed,
    save,
    write_whole,
)
from torchkeeper.wire.execution import Execution

ONE = Candidate(execution=Execution(threads=1, memory_format="channels_last"), batch_size=16)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    made = TuneResults(SUBJECT, remarks=["said"], winner=Winner(ONE, ("it won",)))
    made.costs.append(VariantCost(ONE.execution, BatchCost(0.1, 0.2), ((1.0, 0.3),), 1.0, 7))
    made.measurements.append(measured(ONE, 64, 3))
    made.outs.append(CandidateOut(Candidate(), "it fails"))
    save(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    again = resumed(tmp_path, SUBJECT)
    assert again.winner is None
    assert again.remarks == []
    made.winner = None
    made.remarks = []
    assert again == made
    assert again.measured(ONE, LoadKind(64), 0) == made.measurements[0]
    assert again.measured(ONE, LoadKind(64), 1) is None
    assert again.cost_of(ONE.execution) == made.costs[0]
    assert again.is_out(Candidate())
    assert not again.is_out(ONE)


def test_where_nothing_was_kept_all_begins_anew(tmp_path: Path) -> None:
    assert resumed(tmp_path, SUBJECT) == TuneResults(SUBJECT)


@pytest.mark.parametrize("name", Subject.__struct_fields__)
def test_results_of_something_else_are_refused(tmp_path: Path, name: str) -> None:
    save(TuneResults(SUBJECT), tmp_path)
    value = getattr(SUBJECT, name)
    other = msgspec.structs.replace(SUBJECT, **{name: value * 2})
    with pytest.raises(TuneRefused, match=f"is of another {name.replace('_', ' ')}"):
        resumed(tmp_path, other)


@pytest.mark.parametrize("text", ["", "[]", '{"subject": 1}'])
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(TuneRefused, match="cannot be read"):
        resumed(tmp_path, SUBJECT)


def test_samples_count_where_they_were_answered_alone_and_in_batches() -> None:
    made = TuneResults(SUBJECT)
    assert made.samples_of(ONE) == 0
    made.measurements += [measured(ONE, 64, 3), measured(ONE, 16, 2)]
    assert made.samples_of(ONE) == 3
    made.measurements.append(measured(ONE, 1, 2, round_=1))
    assert made.samples_of(ONE) == 2


def test_a_remark_is_made_once() -> None:
    made = TuneResults(SUBJECT)
    made.remark("so")
    made.remark("so")
    assert made.remarks == ["so"]


def test_a_file_is_written_whole_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"one"
    with pytest.raises(OSError, match="gone"):
        write_whole(tmp_path / "gone" / "file", b"two")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]
