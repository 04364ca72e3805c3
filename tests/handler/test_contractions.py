"""English contractions, regular and not."""

from __future__ import annotations

import pytest

from torchkeeper.handler.contractions import CONTRACTION_MAP


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("can't", "cannot"),
        ("hadn't", "had not"),
        ("I'd've", "I would have"),
        ("it's", "it is"),
        ("o'clock", "of the clock"),
        ("shouldn't've", "should not have"),
        ("they're", "they are"),
        ("where'd", "where did"),
        ("won't", "will not"),
        ("y'all've", "you all have"),
    ],
)
def test_words(short: str, long: str) -> None:
    assert CONTRACTION_MAP[short] == long


def test_there_are_as_many_as_torchserve_has() -> None:
    assert len(CONTRACTION_MAP) == 123
