"""What is printed is heard, and goes where it would have gone."""

from __future__ import annotations

import logging
import sys

import pytest

from torchkeeper.worker.printed import listening


def test_the_last_line_that_says_something_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as heard:
        assert heard() == ""
        print("one")
        print("usage: h.py\nh.py: error: two", file=sys.stderr)
        sys.stdout.write("  \n\n")
        assert heard() == "h.py: error: two"
        handler = logging.StreamHandler()
        handler.emit(logging.makeLogRecord({"msg": "three"}))
        assert heard() == "three"
    print("four")
    handler.emit(logging.makeLogRecord({"msg": "five"}))
    assert heard() == "three"
    out, err = capsys.readouterr()
    assert (out, err) == ("one\n  \n\nfour\n", "usage: h.py\nh.py: error: two\nthree\nfive\n")


def test_endless_lines_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as heard:
        for _ in range(10):
            print("x" * 10_000, end="")
        assert set(heard()) == {"x"}
        assert len(heard()) <= 2000
    assert capsys.readouterr().out == "x" * 100_000


class Closed:
    """A stream that lets nobody listen."""

    __slots__ = ("said",)

    def write(self, text: str) -> None:
        self.said = text


def test_streams_may_be_missing_or_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Closed()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    with listening() as heard:
        closed.write("one")
        assert (heard(), closed.said) == ("", "one")
