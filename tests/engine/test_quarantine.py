"""Requests that ended two workers: whose copies are refused, and for how long."""

from __future__ import annotations

import msgspec
import pytest

from torchkeeper.engine.quarantine import MOST, Quarantine, digest_of
from torchkeeper.errors import Quarantined
from torchkeeper.wire.messages import Input, Kind, Part


def asked(value: bytes = b"bad", number: int = 1) -> Input:
    return Input(
        f"id-{number}", Kind.PREDICT, (Part("body", value, "text/plain"),), {"x-number": str(number)}
    )


def test_copies_are_refused_with_the_reason_and_counted_until_they_are_forgotten() -> None:
    quarantine = Quarantine(60)
    digest = quarantine.put(asked(), "it was killed by SIGSEGV", 100.0)
    for number in (2, 3):
        with pytest.raises(Quarantined) as refused:
            quarantine.check(asked(number=number), 130.5)
    assert refused.value.status == 422
    assert refused.value.cause == f"it was killed by SIGSEGV; request sha256:{digest}, forgotten in 30 s"
    quarantine.check(asked(b"good"), 130.0)
    (one,) = quarantine.listed(159.0).values()
    assert (one.cause, one.since, one.until, one.refused) == ("it was killed by SIGSEGV", 100.0, 160.0, 2)
    quarantine.check(asked(), 160.0)
    assert not quarantine.listed(160.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": Kind.EXPLAIN},
        {"envelope": "json"},
        {"parts": ()},
        {"parts": (Part("data", b"bad", "text/plain"),)},
        {"parts": (Part("body", b"bad", "text/html"),)},
        {"parts": (Part("bodyb", b"ad", "text/plain"),)},
        {"parts": (Part("body", b"bad", "text/plain"), Part("body", b"bad", "text/plain"))},
    ],
)
def test_what_asks_for_something_else_is_no_copy(changed: dict[str, object]) -> None:
    quarantine = Quarantine(60)
    quarantine.put(asked(), "it died", 0.0)
    other = msgspec.structs.replace(asked(), **changed)
    assert digest_of(other) != digest_of(asked())
    quarantine.check(other, 1.0)


def test_with_no_time_nothing_is_kept() -> None:
    quarantine = Quarantine(0)
    assert quarantine.put(asked(), "it died", 0.0) is None
    quarantine.check(asked(), 0.0)


def test_only_so_many_are_kept_the_newest() -> None:
    quarantine = Quarantine(60)
    for number in range(MOST + 1):
        quarantine.put(asked(b"%d" % number), "it died", 0.0)
    quarantine.put(asked(b"1"), "it died again", 0.0)
    assert len(quarantine.held) == MOST
    quarantine.check(asked(b"0"), 1.0)
    with pytest.raises(Quarantined, match="ended two workers"):
        quarantine.check(asked(b"1"), 1.0)
