"""Texts of users' objects: whatever they do, there is one that can be sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.safe_text import LONGEST, safe_repr, safe_str


class Rude:
    """Its texts raise what it was made with, or are that."""

    def __init__(self, gives: Any) -> None:
        self._gives = gives

    def __str__(self) -> Any:
        if isinstance(self._gives, BaseException):
            raise self._gives
        return self._gives

    __repr__ = __str__


class Text(str):
    """A text that does not want to be one."""

    def __str__(self) -> str:
        raise LookupError

    def __len__(self) -> int:
        raise LookupError

    def __getitem__(self, key: Any) -> str:
        raise LookupError


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RecursionError])
def test_objects_whose_text_raises(error: type[BaseException]) -> None:
    assert safe_str(Rude(error())) == f"<Rude, whose str() raises {error.__name__}>"
    assert safe_repr(Rude(error())) == f"<Rude, whose repr() raises {error.__name__}>"


def test_objects_whose_text_is_none() -> None:
    assert safe_str(Rude(7)) == "<Rude, whose str() raises TypeError>"
    for make in (safe_str, safe_repr):
        assert make(Rude(Text("mine"))) == "mine"
        assert make(Rude("ä\ud800")) == "ä\\ud800"


def test_a_handler_that_leaves_is_let_go() -> None:
    for make in (safe_str, safe_repr):
        with pytest.raises(SystemExit):
            make(Rude(SystemExit(3)))


def test_what_is_too_long_is_cut() -> None:
    assert safe_str("x" * LONGEST) == "x" * LONGEST
    assert safe_str("x" * (LONGEST + 1)) == "x" * LONGEST + "..."
    assert safe_repr("x" * 200) == "'" + "x" * 99 + "..."
    assert safe_str("abc", 2) == "ab..."


@given(st.text(st.characters()), st.integers(0, 20))
def test_any_text_can_be_sent(text: str, longest: int) -> None:
    for made in (safe_str(text, longest), safe_repr(text, longest)):
        assert made.encode().decode() == made
    sendable = not any("\ud800" <= letter <= "\udfff" for letter in text)
    if sendable and len(text) <= longest:
        assert safe_str(text, longest) == text
