"""English contractions, regular and not."""

from __future__ import annotations

import pytest

from torchkeeper.handler.contractions import CONTRACTION_MAP, expand


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


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("i'd like it", "i would like it"),
        ("I'm here", "I am here"),
        ("They'LL come", "They will come"),
        ("it can't be", "it cannot be"),
        ("he'd've gone", "he wouldve gone"),
        ("'cause of that", "ecause of that"),
        ("the cat's whiskers", "the cats whiskers"),
        ("sha'n't, won't", "shall not, will not"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_contractions_are_spelled_out(text: str, expanded: str) -> None:
    assert expand(text) == expanded
