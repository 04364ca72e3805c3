"""How a run ended, in sentences."""

from __future__ import annotations

import pytest
from measuring import SUBJECT, measured  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.results import CandidateOut, Measurement, TuneResults
from torchkeeper.tune.target import Target
from torchkeeper.tune.verdict import conclude, untuned
from torchkeeper.wire.agreement import Check

FAST = Candidate(batch_size=16)
TARGET = Target(99, 0.02)


def results(*measurements: Measurement) -> TuneResults:
    return TuneResults(SUBJECT, measurements=list(measurements))


@pytest.mark.parametrize(
    ("target", "why"),
    [(None, "nothing was measured to the end"), (TARGET, "nothing was measured to the end")],
)
def test_without_a_measurement_nobody_wins(target: Target | None, why: str) -> None:
    found = conclude(results(), target, Check(), "it was interrupted")
    assert found.standing is None
    assert found.told == ["It was interrupted", f"No winner: {why}"]


def test_a_target_that_nobody_meets_is_said_with_the_nearest() -> None:
    found = conclude(results(measured(FAST, 64, 3)), TARGET, Check(), "")
    assert found.standing is None
    assert found.told == ["No winner: nobody meets p99=20ms"]
    near = Measurement(FAST, measured(FAST, 1, 1).load, 0, 9.0, 0.0, {"99": 0.5}, 1, 0.1, 0.0, 1)
    (said,) = conclude(results(near), TARGET, Check(), "").told
    assert said.startswith("No winner: nobody meets p99=20ms; the nearest was eager, 1 worker, batches of 16")
    assert said.endswith("with p99=500ms at 1 connections")


def test_a_winner_is_told_with_what_it_gains_and_what_the_samples_prove() -> None:
    made = results(measured(untuned(2), 64, 3), measured(FAST, 64, 3))
    made.measurements[0] = Measurement(
        untuned(2), measured(FAST, 64, 1).load, 0, 50.0, 0.0, {"99": 0.1}, 1, 0.1, 0.0, 3
    )
    found = conclude(made, None, Check(), "")
    assert found.standing is not None
    assert found.standing.candidate == FAST
    said = "\n".join(found.told)
    assert "100 requests a second at 64 connections; untuned" in said
    assert "2.00 times as many" in said
    assert "none of 3 samples" in said
    assert "race only" in said
    assert "10% of one core of 2" in said
    assert "Answers were not compared" in "\n".join(conclude(made, None, Check("none"), "").told)


def test_who_is_out_does_not_win() -> None:
    made = results(measured(FAST, 64, 3))
    made.outs.append(CandidateOut(FAST, "it fails"))
    assert conclude(made, None, Check(), "").standing is None
