"""BYTES elements one after the other: what goes in comes out, and what is cut off is an error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.wire.raw_tensors import elements_of


def raw_of(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def test_an_element_follows_its_length() -> None:
    assert elements_of(memoryview(b"\x02\0\0\0hi\0\0\0\0\x01\0\0\0!")) == [b"hi", b"", b"!"]


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_elements_come_out_as_they_went_in(elements: list[bytes]) -> None:
    assert elements_of(memoryview(raw_of(elements))) == elements


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.integers(0, 100))
def test_a_tensor_that_is_cut_within_an_element_is_an_error(elements: list[bytes], at: int) -> None:
    raw = raw_of(elements)
    bounds = [len(raw_of(elements[:count])) for count in range(len(elements) + 1)]
    cut = at % len(raw)
    if cut in bounds:
        assert elements_of(memoryview(raw)[:cut]) == elements[: bounds.index(cut)]
    else:
        with pytest.raises(ValueError, match="BYTES element"):
            elements_of(memoryview(raw)[:cut])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x01\0\0", "needs its length in four bytes"),
        (b"\x05\0\0\0four", "a BYTES element of 5 bytes, of which 4 are there"),
        (b"\xff\xff\xff\xff", "a BYTES element of 4294967295 bytes, of which 0 are there"),
    ],
)
def test_the_error_says_what_is_missing(raw: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        elements_of(memoryview(raw))
