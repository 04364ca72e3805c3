"""Who wins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.choosing import FULL, best, nearest, standings
from torchkeeper.tune.results import LoadKind, Measurement
from torchkeeper.tune.target import Target

A, B, C = (Candidate(batch_size=n) for n in (1, 2, 3))
ONE, HALF, MOST = LoadKind(1), LoadKind(64, 0.5), LoadKind(64, 0.9)
TARGET = Target(99, 0.02)


def at(
    candidate: Candidate,
    load: LoadKind,
    rate: float,
    p99: float | None = 0.01,
    *,
    p50: float = 0.005,
    **more: int,
) -> Measurement:
    latencies = {"50": p50, "99": p99}
    return Measurement(
        candidate, load, more.get("round", 0), rate, 0.0, latencies, more.get("memory", 100), 0.1, 0.0, 1
    )


def winner(measurements: list[Measurement], target: Target | None = None) -> Candidate | None:
    found = best(standings(measurements, target))
    return found and found.candidate


@pytest.mark.parametrize(
    ("measurements", "target", "expected"),
    [
        ([], None, None),
        ([at(A, FULL, 100), at(B, FULL, 200)], None, B),
        ([at(A, ONE, 300), at(B, FULL, 200)], None, B),
        # In the final only its rounds count, and who was in it wins over who was not.
        ([at(A, FULL, 100), at(B, FULL, 90), at(B, FULL, 95, round=1)], None, B),
        ([at(A, FULL, 300), at(A, FULL, 100, round=1), at(B, FULL, 101.5, round=1)], None, B),
        # Time may be up in the middle of a round.
        ([at(A, FULL, 100, round=1), at(A, FULL, 100, round=2), at(B, FULL, 120, round=1)], None, B),
        # As fast as each other, but for what rounds differ by: the lower median wins, then less memory.
        (
            [
                *(at(A, FULL, rate, round=n) for n, rate in ((1, 100), (2, 110))),
                *(at(B, FULL, rate, round=n) for n, rate in ((1, 100), (2, 104))),
                *(at(A, ONE, 9, p50=0.004, round=n) for n in (1, 2)),
                *(at(B, ONE, 9, p50=0.003, round=n) for n in (1, 2)),
            ],
            None,
            B,
        ),
        ([at(A, FULL, 100, memory=50), at(B, FULL, 100.5, memory=60)], None, A),
        ([at(A, FULL, 100, memory=50), at(B, FULL, 105, memory=60)], None, B),
        # With a target the rate of the greatest load that meets it counts.
        ([at(A, FULL, 100, 0.03), at(A, ONE, 20), at(B, FULL, 90, 0.03), at(B, ONE, 30)], TARGET, B),
        ([at(A, FULL, 100, 0.03), at(B, FULL, 90, None)], TARGET, None),
        # Open loops count where there are some: they know how long who came meanwhile has waited.
        ([at(A, FULL, 100), at(A, MOST, 90, 0.03), at(A, HALF, 50), at(B, HALF, 60)], TARGET, B),
        # In every round.
        ([at(A, HALF, 99, round=1), at(A, HALF, 99, 0.03, round=2), at(B, HALF, 9, round=1)], TARGET, B),
    ],
)
def test_the_rules(
    measurements: list[Measurement], target: Target | None, expected: Candidate | None
) -> None:
    assert winner(measurements, target) == expected


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.floats(1, 1000)), min_size=1))
def test_nobody_wins_who_is_slower_than_the_spread_allows(rates: list[tuple[Candidate, float]]) -> None:
    found = standings([at(one, FULL, rate) for one, rate in rates], None)
    won = best(found)
    assert won is not None
    first = found[0]
    assert won.rate >= first.rate * (1 - max(won.spread, first.spread, 0.01)) - 1e-9
    assert first.rate == max(one.rate for one in found)


def test_the_nearest_to_a_target_is_who_was_quickest() -> None:
    measurements = [at(A, FULL, 1, 0.05), at(B, ONE, 1, 0.03), at(C, ONE, 1, None)]
    assert nearest(measurements, TARGET) == measurements[1]
    assert nearest([at(C, ONE, 1, None)], TARGET) is None


def test_what_was_never_answered_has_no_tail() -> None:
    (found,) = standings([at(A, FULL, 1, None)], None)
    assert found.tail is None
    (found,) = standings([at(A, HALF, 1, 0.5)], None)
    assert (found.rate, found.p50) == (0.0, 0.005)
    assert not math.isnan(found.spread)
