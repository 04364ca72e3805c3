"""What the doctor prints: lines for pipes, a table for a terminal, and the sum below."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.doctor.report import lines, show, summary

FINDINGS = (
    Finding("config.properties:1", "load_models", Verdict.WORKS),
    Finding("m.mar", "handler", Verdict.BROKEN, "why [not] that"),
    Finding("m.mar", "extra files", Verdict.BROKEN, "one [bold]more[/bold]"),
)


def shown(*findings: Finding, terminal: bool = False, width: int = 100) -> list[str]:
    out = io.StringIO()
    show(findings, Console(file=out, force_terminal=terminal, width=width))
    return out.getvalue().splitlines()


def test_a_line_says_verdict_place_thing_and_reason() -> None:
    assert lines(FINDINGS) == [
        "works          config.properties:1  load_models",
        "would not run  m.mar  handler: why [not] that",
        "would not run  m.mar  extra files: one [bold]more[/bold]",
    ]


@pytest.mark.parametrize("verdict", Verdict)
def test_places_stand_below_one_another(verdict: Verdict) -> None:
    (line,) = lines([Finding("place", "what", verdict)])
    assert line.index("place") == 15


def test_the_sum_counts_each_verdict() -> None:
    assert summary(FINDINGS) == "1 works, 0 changed, 0 ignored, 0 cannot know, 2 would not run"
    assert summary(iter(FINDINGS)) == summary(FINDINGS)
    assert summary(()) == "0 works, 0 changed, 0 ignored, 0 cannot know, 0 would not run"


def test_a_pipe_gets_the_lines_whole_and_the_sum() -> None:
    long = Finding("m.mar", "handler", Verdict.CHANGED, "word " * 60 + "end")
    assert shown(*FINDINGS, long, width=40) == [*lines((*FINDINGS, long)), summary((*FINDINGS, long))]


def test_a_terminal_gets_a_table() -> None:
    *table, last = shown(*FINDINGS, terminal=True)
    assert last == summary(FINDINGS)
    (row,) = [line for line in table if "extra files" in line]
    assert "\x1b[1;31mwould not run" in row
    assert "│" in row
    assert "one [bold]more[/bold]" in row


def test_nothing_found_is_said_too() -> None:
    assert shown() == [summary(())]
