"""What a set-up must keep to."""

from __future__ import annotations

import pytest

from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.target import Target, read_target


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("p99=20ms", Target(99, 0.02), "p99=20ms"),
        ("p50=1.5s", Target(50, 1.5), "p50=1500ms"),
        ("p99.9=800us", Target(99.9, 0.0008), "p99.9=0.8ms"),
    ],
)
def test_a_target_is_read(text: str, expected: Target, said: str) -> None:
    found = read_target(text)
    assert found.percent == expected.percent
    assert found.seconds == pytest.approx(expected.seconds)
    assert str(found) == said


@pytest.mark.parametrize(
    "text", ["", "p99", "p99=20", "99=20ms", "p100=20ms", "p0=20ms", "p99=0ms", "p99=-1ms", "rate=3"]
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(TuneRefused, match="--target"):
        read_target(text)
