"""Rolling over: by day under TorchServe's names, by size under numbers, five old ones kept."""

from __future__ import annotations

import gzip
import os
from datetime import datetime
from pathlib import Path

import pytest

from shortage import files_of_at_most
from torchkeeper.logs.files import RollingFile


def noon(day: int) -> float:
    return datetime(2026, 11, day, 12).timestamp()


def texts(folder: Path) -> dict[str, str]:
    return {
        path.name: gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        for path in folder.iterdir()
    }


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    file = RollingFile(tmp_path / "access_log.log")
    file.write(["one"], noon(24))
    file.write(["two"], noon(24))
    file.write(["three"], noon(25))
    file.close()
    assert texts(tmp_path) == {"access_log.24-Nov.log.gz": "one\ntwo\n", "access_log.log": "three\n"}


def test_a_file_of_an_earlier_day_is_rolled_over_at_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.write_text("old\n")
    os.utime(path, (noon(22), noon(22)))
    file = RollingFile(path)
    file.write(["new"], noon(25))
    file.close()
    assert texts(tmp_path) == {"ts_log.22-Nov.log.gz": "old\n", "ts_log.log": "new\n"}


def test_a_file_of_today_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.write_text("old\n")
    os.utime(path, (noon(25), noon(25)))
    file = RollingFile(path)
    file.write(["new"], noon(25))
    file.close()
    assert texts(tmp_path) == {"ts_log.log": "old\nnew\n"}


def test_a_day_without_lines_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.touch()
    os.utime(path, (noon(22), noon(22)))
    file = RollingFile(path)
    file.write(["new"], noon(25))
    file.close()
    assert texts(tmp_path) == {"ts_log.log": "new\n"}


def test_a_day_that_has_its_file_already_gets_a_second_one(tmp_path: Path) -> None:
    file = RollingFile(tmp_path / "ts_log.log")
    for day, text in ((24, "a"), (25, "b"), (24, "c"), (25, "d")):
        file.write([text], noon(day))
    file.close()
    assert texts(tmp_path) == {
        "ts_log.24-Nov.log.gz": "a\n",
        "ts_log.25-Nov.log.gz": "b\n",
        "ts_log.24-Nov.1.log.gz": "c\n",
        "ts_log.log": "d\n",
    }


def test_five_old_files_are_kept_whatever_made_them(tmp_path: Path) -> None:
    other = tmp_path / "access_log.01-Nov.log.gz"
    other.write_bytes(gzip.compress(b"not ours"))
    file = RollingFile(tmp_path / "ts_log.log", max_bytes=50)
    for day in range(10, 14):
        for number in range(2):
            file.write([f"day {day} line {number} " + "x" * 40], noon(day))
            for age, path in enumerate(
                sorted(tmp_path.glob("ts_log.*.gz"), key=lambda path: path.stat().st_mtime_ns)
            ):
                os.utime(
                    path, (noon(1) + age, noon(1) + age)
                )  # the file system's clock may be coarser than us
    file.close()
    found = texts(tmp_path)
    assert found.pop(other.name) == "not ours"
    assert found.pop("ts_log.log").startswith("day 13 line 1")
    said = sorted(text[: len("day 10 line 0")] for text in found.values())
    assert said == ["day 11 line 0", "day 11 line 1", "day 12 line 0", "day 12 line 1", "day 13 line 0"]


def test_a_folder_that_vanished_is_told_and_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = RollingFile(folder / "ts_log.log")
    folder.rmdir()
    assert file.write(["lost", "too"], noon(24)) == 2
    assert file.fault == "No such file or directory"
    folder.mkdir()
    assert file.write(["kept"], noon(24)) == 0
    assert file.fault == ""
    file.close()
    assert texts(folder) == {"ts_log.log": "kept\n"}


def test_what_a_full_disk_does_not_take_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.symlink_to("/dev/full")
    file = RollingFile(path)
    assert file.write(["one", "two"], noon(24)) == 2
    assert file.fault == "No space left on device"


def test_a_line_that_has_room_in_part_is_not_torn(tmp_path: Path) -> None:
    file = RollingFile(tmp_path / "ts_log.log")
    with files_of_at_most(20):
        assert file.write(["it fits", "ö and ü", "not any more"], noon(24)) == 1
        assert file.fault == "File too large"
        assert file.write(["nor this"], noon(24)) == 1
    assert file.write(["at last"], noon(24)) == 0
    file.close()
    assert texts(tmp_path) == {"ts_log.log": "it fits\nö and ü\nat last\n"}


@pytest.mark.parametrize("day", [24, 25], ids=["full", "a new day"])
def test_a_file_that_cannot_be_rolled_over_grows_and_old_ones_stay(tmp_path: Path, day: int) -> None:
    now = 0.0
    file = RollingFile(tmp_path / "ts_log.log", max_bytes=30, clock=lambda: now)
    for letter in "abc":
        file.write([letter * 20], noon(24))
    before = texts(tmp_path)
    assert sorted(before.values()) == [letter * 20 + "\n" for letter in "abc"]
    barrier = tmp_path / "ts_log.log.part"  # where the compressed file is to be made
    barrier.mkdir()
    for _ in range(10):
        assert file.write(["grows" * 4], noon(day)) == 0
    barrier.rmdir()
    grown = before.pop("ts_log.log") + ("grows" * 4 + "\n") * 10
    assert texts(tmp_path) == {**before, "ts_log.log": grown}
    file.write(["too soon"], noon(day))
    now = 61.0
    file.write(["later"], noon(day))
    file.close()
    found = texts(tmp_path)
    assert found.pop("ts_log.log") == "later\n"
    assert sorted(found.values()) == sorted([*before.values(), grown + "too soon\n"])
