"""Texts of users' objects: whatever they do, there is one that can be sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.safe_text import LONGEST, first_sentence, named_sentence, safe_repr, safe_str


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


LOADING = 'Error(s) in loading state_dict for Net:\n\tMissing key(s): "w". \n\tsize mismatch for b.'
CUDA = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later.\nSet X=1.\n"
SCRIPT = (
    "The operation failed in the interpreter.\nTraceback of TorchScript (most recent call last):\n"
    '  File "linear.py", line 134, in forward\n    ~~~~ <--- HERE\nRuntimeError: shapes (1x4 and 3x2)\n'
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("words", "words"),
        ("", "RuntimeError"),
        (" \n\n", "RuntimeError"),
        ("\n  words\nmore\n", "words"),
        (LOADING, 'Error(s) in loading state_dict for Net: Missing key(s): "w".'),
        (CUDA, "CUDA error: device-side assert triggered"),
        (SCRIPT, "The operation failed in the interpreter. RuntimeError: shapes (1x4 and 3x2)"),
        ("it ends so:", "it ends so:"),
        ("x" * 600, "x" * 500 + "..."),
    ],
)
def test_what_an_error_says_first(text: str, sentence: str) -> None:
    assert first_sentence(RuntimeError(text)) == sentence


def test_an_error_without_words() -> None:
    assert first_sentence(AssertionError()) == named_sentence(AssertionError()) == "AssertionError"
    assert named_sentence(AssertionError("so")) == "AssertionError: so"
    rude = "<Rude, whose str() raises ValueError>"
    assert first_sentence(RuntimeError(Rude(ValueError()))) == rude.replace("Rude,", "RuntimeError,")


@given(st.text(st.characters()), st.integers(0, 20))
def test_any_text_can_be_sent(text: str, longest: int) -> None:
    for made in (safe_str(text, longest), safe_repr(text, longest)):
        assert made.encode().decode() == made
    sendable = not any("\ud800" <= letter <= "\udfff" for letter in text)
    if sendable and len(text) <= longest:
        assert safe_str(text, longest) == text
