"""What cannot be tuned is said in one sentence, before anything is started."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
from pathlib import Path

import psutil
import pytest
import uvloop
from measuring import SUBJECT  # type: ignore[import-not-found]  # pytest puts this folder on the path
from rich.console import Console

from servers import make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.cli import torchkeeper
from torchkeeper.tune.budget import Budget
from torchkeeper.tune.command import read_plan, tune
from torchkeeper.tune.flags import add_to
from torchkeeper.tune.repacking import open_tuned
from torchkeeper.tune.results import TuneResults
from torchkeeper.tune.samples import TuneSample
from torchkeeper.tune.search import TIME_UP, Search
from torchkeeper.tune.trial_server import TrialServer
from torchkeeper.tune.trials import Trialled, Trials
from torchkeeper.wire.agreement import Check

HANDLER = "def handle(data, context):\n    return data\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "store").mkdir()
    make_archive(tmp_path / "store", "m", HANDLER)
    (tmp_path / "one.txt").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ([], "--sample names no file"),
        (["--sample", "gone.txt"], "--sample gone.txt: there is no such file"),
        (
            ["--sample", "one.txt", "--target", "p99=0ms"],
            "--target p99=0ms: nobody can be answered",
        ),
        (["--sample", "one.txt", "--target", "fast"], "--target fast: write a percentile and a time"),
        (["--sample", "one.txt", "--time", "1s"], "--time 1s: nothing can be measured in less than 15 s"),
        (["--sample", "one.txt", "--check", "top5"], "--check top5: there are same, exact, top1"),
        (["--sample", "one.txt", "--ts-config", "gone"], "--ts-config gone: No such file"),
        (["--sample", "one.txt", "--route", "/predictions/n"], "must name the model: /predictions/m"),
    ],
)
def test_what_makes_no_sense(
    place: Path, capsys: pytest.CaptureFixture[str], flags: list[str], why: str
) -> None:
    assert torchkeeper(["tune", "store/m-1.0.mar", *flags]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("torchkeeper tune: error: ")
    assert why in err
    assert err.count("\n") == 1
    assert not out
    assert sorted(path.name for path in place.iterdir()) == ["make-m-1.0", "one.txt", "store"]


def test_an_archive_that_is_not_there_or_cannot_be_written_into(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--sample", "one.txt"]
    assert torchkeeper(["tune", "gone.mar", *flags]) == 1
    assert "gone.mar is not there" in capsys.readouterr().err
    assert torchkeeper(["tune", "make-m-1.0", "--write", *flags]) == 1
    assert "make-m-1.0" in capsys.readouterr().err


def test_a_file_of_somebody_elses_is_not_overwritten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = place / "store" / "m-1.0.model-config.yaml"
    own.write_text("batchSize: 8\n")
    assert torchkeeper(["tune", "store/m-1.0.mar", "--sample", "one.txt"]) == 1
    assert "not of tune's making" in capsys.readouterr().err
    assert own.read_text() == "batchSize: 8\n"


def test_a_time_that_is_over_is_told_and_no_server_is_left(place: Path) -> None:
    parser = argparse.ArgumentParser()
    add_to(parser.add_subparsers())
    flags = parser.parse_args(["tune", "store/m-1.0.mar", "--sample", "one.txt"])
    plan = read_plan(flags, place / "unpacked")
    results = TuneResults(plan.subject)
    server = TrialServer(place / "server", None, os.environ)
    short = dataclasses.replace(plan, seconds=0.5)
    assert uvloop.run(tune(short, results, server, Console(quiet=True))) == ""
    assert results.remarks == [TIME_UP]
    assert not results.measurements
    assert not psutil.Process().children(recursive=True)


def test_a_time_that_is_over_before_the_samples_are_answered_is_told(place: Path) -> None:
    source = open_tuned(place / "store" / "m-1.0.mar", place / "unpacked")
    what = Trialled(source, (TuneSample("one.txt", b"1", "text/plain"),), {}, "/predictions/m", Check())
    results, over = TuneResults(SUBJECT), Budget(15.0, iter([0.0, *[15.0] * 9]).__next__)
    trials = Trials(what, TrialServer(place / "server", None, {}), results, over)
    said: list[str] = []
    search = Search(trials, results, over, 1, None, None, samples_fit=False, say=said.append, keep=list)
    asyncio.run(search.run())
    assert results.remarks == [TIME_UP]
    assert said == ["eager float32 answers the samples"]
