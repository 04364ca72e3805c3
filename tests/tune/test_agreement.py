"""Which check is asked for, what samples prove, and how answers are judged as they come."""

from __future__ import annotations

import math

import pytest

from torchkeeper.tune.agreement import Judge, at_most, proof, read_check
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.wire.agreement import Check


@pytest.mark.parametrize("text", ["", "rel", "rel=", "rel=2", "rel=nan", "rel=x", "top5", "exact=1"])
def test_other_checks_are_refused(text: str) -> None:
    with pytest.raises(TuneRefused, match="--check"):
        read_check(text)


@pytest.mark.parametrize("text", ["same", "exact", "top1", "none", "rel=0.001"])
def test_a_check_is_what_it_says(text: str) -> None:
    assert str(read_check(text)) == text
    assert read_check(text).told


def test_what_samples_prove() -> None:
    assert at_most(300) == pytest.approx(3 / 300, rel=0.01)
    assert at_most(1) == pytest.approx(0.95)
    assert math.isclose(1 - (1 - at_most(20)) ** 20, 0.95)
    assert "none of 1 sample " in proof(1)
    assert "25.89%" in proof(10)


def test_a_judge_keeps_the_first_failure_and_the_first_difference() -> None:
    judge = Judge({0: b"7", 1: b"1.0"}, Check(), ("7.png", "one.png"))
    for sample, status, body in (
        *((0, 200, b"7"), (1, 200, b"1.001"), (1, 200, b"1.001")),
        *((0, 200, b"8"), (0, 200, b"9"), (1, 503, b"busy"), (0, 0, b"lost")),
    ):
        judge.take(sample, status, body)
    assert judge.answers == 7
    assert judge.difference.startswith("7.png: ")
    assert "'8'" in judge.difference
    assert judge.failure == "one.png was answered with 503: 'busy'"
