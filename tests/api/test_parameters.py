"""Parameters of management requests: from the query, from JSON, and the sentence that names a misfit."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.api.parameters import Page, Register, Scale, read
from torchkeeper.errors import BadRequest


def test_the_query_is_read_and_blank_values_count_as_absent() -> None:
    found = read(Register, b"url=a.mar&batch_size=8&synchronous=false&handler=", None, b"")
    assert found == Register(url="a.mar", batch_size=8, synchronous=False)


def test_a_json_body_wins_over_the_query() -> None:
    found = read(
        Scale, b"min_worker=1", "application/json; charset=utf-8", b'{"min_worker": 3, "max_worker": null}'
    )
    assert found == Scale(min_worker=3)


def test_a_body_that_is_not_declared_as_json_is_not_read() -> None:
    assert read(Scale, b"", "text/plain", b"{") == Scale()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (b"batch_size=x", "batch_size"),
        (b"batch_size=0", "batch_size"),
        (b"initial_workers=-1", "initial_workers"),
        (b"initial_workers=99999999", "initial_workers"),
        (b"max_batch_delay=1.5", "max_batch_delay"),
        (b"response_timeout=0", "response_timeout"),
        (b"synchronous=maybe", "synchronous"),
    ],
)
def test_a_value_that_does_not_fit_is_named(query: bytes, name: str) -> None:
    with pytest.raises(BadRequest, match=f"Invalid value for parameter {name}: "):
        read(Register, query, None, b"")


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"\\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(Register, b"", "application/json", body)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(query: bytes, body: bytes) -> None:
    for kind in (Register, Scale, Page):
        with contextlib.suppress(BadRequest):
            read(kind, query, "application/json", body)
