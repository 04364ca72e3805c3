"""Parameters of management requests: from the query, from JSON, and the sentence that names a misfit."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.api.body import parse_parameters
from torchkeeper.errors import BadRequest
from torchkeeper.serving.parameters import Page, Register, Scale, T, fitting


def read(kind: type[T], query: bytes, content_type: str | None, body: bytes) -> T:
    """The parameters of a request over HTTP."""
    return fitting(kind, parse_parameters(query, content_type, body))


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


def test_a_batch_size_is_a_number_or_left_to_warm_up() -> None:
    assert read(Register, b"batch_size=auto", None, b"") == Register(batch_size="auto")
    assert read(Register, b"", "application/json", b'{"batch_size": "auto"}') == Register(batch_size="auto")
    with pytest.raises(BadRequest, match=r"'many'\. Expected a whole number from 1 or auto\."):
        read(Register, b"batch_size=many", None, b"")


DEEP = b"[" * 2000 + b"]" * 2000


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"1",
        b"\\xff",
        b"\xff",
        b'"\\ud800"',
        DEEP,
        b'{"url": %b}' % DEEP,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(Register, b"", "application/json", body)


@pytest.mark.parametrize("levels", [500, 900, 950, 990, 1000])
@pytest.mark.parametrize("name", ["url", "batch_size", "synchronous"])
def test_a_deep_value_is_refused(name: str, levels: int) -> None:
    body = b'{"%b": %b}' % (name.encode(), b"[" * levels + b"]" * levels)
    with pytest.raises(BadRequest):
        read(Register, b"", "application/json", body)


json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from([*Register.__struct_fields__, *Scale.__struct_fields__, *Page.__struct_fields__])


@given(st.dictionaries(names, json_values, max_size=3))
def test_values_of_any_type_are_read_or_refused(values: dict[str, object]) -> None:
    for kind in (Register, Scale, Page):
        with contextlib.suppress(BadRequest):
            read(kind, b"", "application/json", json.dumps(values).encode())


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(query: bytes, body: bytes) -> None:
    for kind in (Register, Scale, Page):
        with contextlib.suppress(BadRequest):
            read(kind, query, "application/json", body)
