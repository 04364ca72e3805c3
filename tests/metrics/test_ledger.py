"""The ledger: what is in flight, and the line that operators read."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.metrics.ledger import Ledger

COUNTS = st.integers(0, 1000)
ENDS = st.fixed_dictionaries(dict.fromkeys(("answered", "refused", "failed", "gone"), COUNTS))


@given(ENDS, COUNTS)
def test_in_flight_is_what_has_no_end_yet(ends: dict[str, int], running: int) -> None:
    assert Ledger(sum(ends.values()) + running, **ends).in_flight == running


@given(COUNTS, ENDS)
def test_the_line_names_every_count_once(accepted: int, ends: dict[str, int]) -> None:
    ledger = Ledger(accepted, **ends)
    told = dict(pair.split("=") for pair in str(ledger).split())
    assert told == {field.name: str(getattr(ledger, field.name)) for field in fields(Ledger)}


def test_a_new_one_is_empty() -> None:
    assert str(Ledger()) == "accepted=0 answered=0 refused=0 failed=0 gone=0"
    assert Ledger().in_flight == 0
