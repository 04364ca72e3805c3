"""Java's .properties: what is written is read back, and is what Java would write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.properties import java_date, parse_properties, write_properties


@given(st.dictionaries(st.text(), st.text()))
def test_a_round_trip(values: dict[str, str]) -> None:
    text = write_properties(values, ("a comment",))
    assert text.isascii()
    assert {found.key: found.value for found in parse_properties(text)} == values


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("a", "http://h:1", r"a=http\://h\:1"),
        ("two words", " two  words ", r"two\ words=\ two  words "),
        ("k=:#!", "v=:#!", r"k\=\:\#\!=v\=\:\#\!"),
        ("path", "C:\\temp", r"path=C\:\\temp"),
        ("lines", "1\n2\r3\t4\f5", r"lines=1\n2\r3\t4\f5"),
        ("ä", "€ \x07\x7f", "\\u00E4=\\u20AC \\u0007\\u007F"),
        ("beyond", "\U0001f600", r"beyond=\uD83D\uDE00"),
        ("empty", "", "empty="),
    ],
)
def test_escapes_are_javas(key: str, value: str, line: str) -> None:
    assert write_properties({key: value}) == f"{line}\n"
    assert [(found.key, found.value) for found in parse_properties(line)] == [(key, value)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_only_line_ends_end_a_line(end: str) -> None:
    found = parse_properties(f"a=1\x0b2\x1c3\u20284{end}! no{end}b=2")
    assert [(one.key, one.value, one.line) for one in found] == [
        ("a", "1\x0b2\x1c3\u20284", 1),
        ("b", "2", 3),
    ]


def test_the_date_is_javas() -> None:
    assert java_date(datetime(2026, 11, 25, 4, 39, 25, tzinfo=UTC)) == "Wed Nov 25 04:39:25 UTC 2026"
