"""What a handler may say of its answer's head: checked alike where it is said and where it is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.response_head import checked_header, checked_phrase, checked_status
from torchkeeper.http.head import AnswerHead, Head


def sent(status: int, phrase: str, *fields: tuple[str, str]) -> list[str]:
    """The lines of an answer's head as they leave the server."""
    request = Head()
    request.version = "1.1"
    raw = [(name.encode("latin-1", "replace"), value.encode(errors="replace")) for name, value in fields]
    head = AnswerHead(request, status, phrase.encode("latin-1", "replace"), raw, close=False)
    return head.block.decode(errors="replace").split("\r\n")


@given(st.integers(-10, 1100))
def test_a_status_passes_here_if_it_is_sent_as_it_is(status: int) -> None:
    as_it_is = sent(status, "")[0] == f"HTTP/1.1 {status} "
    try:
        checked = checked_status(status)
    except ValueError:
        assert not as_it_is
    else:
        assert as_it_is
        assert checked == status


@given(st.text(min_size=1, max_size=5), st.text(max_size=5))
def test_a_header_passes_here_if_it_is_sent(name: str, value: str) -> None:
    lines = sent(200, "", (name, value))
    try:
        found = checked_header(name, value)
    except ValueError:
        assert f"{name}: {value}" not in lines
    else:
        assert found == (name, value)
        assert f"{name}: {value}" in lines


@given(st.text(max_size=20) | st.none() | st.integers())
def test_any_phrase_becomes_one_line(phrase: object) -> None:
    found = checked_phrase(phrase)
    found.encode()
    assert not set(found) & set("\r\n\0")
    assert sent(200, found)[0].startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("given", "expected"), [(None, 200), ("404", 404), (404.0, 404), (200, 200), (599, 599)]
)
def test_numbers_in_other_forms(given: object, expected: int) -> None:
    assert checked_status(given) == expected


@pytest.mark.parametrize(("value", "expected"), [(3, "3"), (0.5, "0.5"), (True, "True"), ("", "")])
def test_numbers_are_texts_of_headers(value: object, expected: str) -> None:
    assert checked_header("X-Any", value) == ("X-Any", expected)
