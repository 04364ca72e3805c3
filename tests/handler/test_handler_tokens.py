"""Words and n-grams, as torchtext makes them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.tokens import basic_english, get_tokenizer, ngrams_iterator


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("You can now install it by pip!", "you can now install it by pip !"),
        ("It's \"fine\", isn't it? (yes)<br />a;b:c.d", "it ' s fine , isn ' t it ? ( yes ) a b c . d"),
        (" \t\nx  Y\u00a0z ", "x y z"),
        ('a<br" />b', "a b"),
        ("", ""),
    ],
)
def test_basic_english(line: str, tokens: str) -> None:
    assert basic_english(line) == tokens.split()
    assert get_tokenizer("basic_english")(line) == tokens.split()


def test_other_tokenizers() -> None:
    assert get_tokenizer(None)("A b,c") == ["A", "b,c"]
    assert get_tokenizer(list)("ab") == ["a", "b"]
    for tokenizer, language in (("spacy", "en"), ("basic_english", "de")):
        with pytest.raises(ValueError, match="the only tokenizer here is basic_english"):
            get_tokenizer(tokenizer, language)


def test_ngrams() -> None:
    assert list(ngrams_iterator(["here", "we", "are"], 2)) == ["here", "we", "are", "here we", "we are"]
    assert list(ngrams_iterator(["here", "we", "are"], 3))[-1] == "here we are"
    assert list(ngrams_iterator(["here"], 3)) == ["here"]
    assert list(ngrams_iterator([], 2)) == []


@given(st.lists(st.text("abc", min_size=1)))
def test_pairs_are_of_neighbours(tokens: list[str]) -> None:
    assert list(ngrams_iterator(tokens, 2)) == tokens + [f"{one} {two}" for one, two in pairwise(tokens)]
