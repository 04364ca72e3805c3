"""Splits texts into words and n-grams as torchtext does, without torchtext.

Must not import torch. Source of the rules: torchtext's tokenizer `basic_english` and `ngrams_iterator`, which
TorchServe keeps in `ts.handler_utils.text_utils`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

#: What `basic_english` makes of marks, one after the other.
_MARKS = (
    ("'", " ' "),
    ('"', ""),
    (".", " . "),
    ("<br />", " "),
    (",", " , "),
    ("(", " ( "),
    (")", " ) "),
    ("!", " ! "),
    ("?", " ? "),
    (";", " "),
    (":", " "),
)


def basic_english(line: str) -> list[str]:
    """The lower-case words of a line, and its marks as words of their own."""
    line = line.lower()
    for mark, replacement in _MARKS:
        line = line.replace(mark, replacement)
    return line.split()


def get_tokenizer(tokenizer: Any, language: str = "en") -> Callable[[str], list[str]]:
    """A function from a line to its tokens.

    Args:
        tokenizer: "basic_english", None for words between spaces, or the function itself.
        language: of the text; `basic_english` knows "en" only.

    Raises:
        ValueError: no such tokenizer.
    """
    if tokenizer is None:
        return str.split
    if callable(tokenizer):
        function: Callable[[str], list[str]] = tokenizer
        return function
    if tokenizer != "basic_english" or language != "en":
        raise ValueError(
            f"the only tokenizer here is basic_english for 'en', not {tokenizer} for {language!r}"
        )
    return basic_english


def ngrams_iterator(token_list: list[str], ngrams: int) -> Iterator[str]:
    """The tokens, then each two neighbours joined by a space, and so on up to `ngrams` neighbours."""
    yield from token_list
    for size in range(2, ngrams + 1):
        for start in range(len(token_list) - size + 1):
            yield " ".join(token_list[start : start + size])
