"""What is said of lost log lines: the beginning and the end, not each of them."""

from __future__ import annotations

from torchkeeper.logs.losses import QUIET, Losses


def test_one_warning_for_all_files_and_one_word_when_there_is_room_again() -> None:
    losses = Losses()
    assert losses.files("a", 0, "", 0.0) is None
    said = losses.files("a", 3, "No space left on device", 1.0)
    assert said is not None
    assert "a: No space left on device" in said
    assert losses.files("b", 2, "No space left on device", 1.0) is None
    assert losses.files("a", 5, "No space left on device", 500.0) is None
    said = losses.files("a", 0, "", 501.0)
    assert said is not None
    assert said == "log lines can be written again; 10 were lost; not yet to b"
    assert losses.files("a", 0, "", 502.0) is None
    assert losses.files("b", 0, "", 502.0) == "log lines can be written again to b"
    assert losses.files("b", 0, "", 503.0) is None
    assert losses.counts == {"queue": 0, "disk": 10, "stdout": 0}


def test_a_disk_that_is_full_now_and_then_is_told_of_now_and_then() -> None:
    losses = Losses()
    said = []
    for turn in range(100):
        said += [losses.files("a", 1, "full", turn), losses.files("a", 0, "", turn)]
    told = [text for text in said if text is not None]
    assert len(told) == 4
    assert f"; {int(QUIET)} were lost" in told[3]
    assert losses.counts["disk"] == 100


def test_disks_that_mend_by_turns_are_not_told_of_by_turns() -> None:
    losses = Losses()
    said = []
    for turn in range(50):
        for path in ("a", "b"):
            said += [losses.files(path, 1, "full", 0.0)]
        said += [losses.files("ab"[turn % 2], 0, "", 0.0)]
    assert [text for text in said if text] == [
        "log lines cannot be written to a: full; they are lost, and counted in torchkeeper_log_lines_lost",
        "log lines can be written again; 2 were lost; not yet to b",
        "log lines can be written again to b; 2 were lost",
    ]


def test_stdout_is_told_of_once() -> None:
    losses = Losses()
    assert losses.stdout(0, "") is None
    assert losses.stdout(4, "Broken pipe") is not None
    assert losses.stdout(9, "Broken pipe") is None
    assert losses.counts["stdout"] == 9
