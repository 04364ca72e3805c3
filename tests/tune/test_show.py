"""How far a run is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from torchkeeper.tune.budget import Budget
from torchkeeper.tune.show import Progress, clock


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (600, "10:00"), (59.6, "1:00")])
def test_the_time_that_is_left(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_done_is_said(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with Progress(console, Budget(600)) as progress:
        progress.say("race: [eager]")
    assert "race: [eager]" in out.getvalue()
    assert ("left" in out.getvalue()) == terminal
