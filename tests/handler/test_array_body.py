"""Arrays as bodies: what goes in comes out, by content type."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from torchkeeper.handler.array_body import CSV, JSON, NPY, Unsupported, decoded, encoded, plain

FINITE = st.floats(-1e6, 1e6, width=32)


@given(st.sampled_from([JSON, NPY]), arrays(np.float64, array_shapes(max_dims=3), elements=FINITE))
def test_what_is_sent_is_read(kind: str, array: np.ndarray[Any, Any]) -> None:
    body, content_type = encoded(array, kind)
    assert content_type == kind
    np.testing.assert_allclose(decoded(body, kind), array)


@given(arrays(np.float64, st.tuples(st.integers(2, 4), st.integers(2, 4)), elements=FINITE))
def test_tables_as_csv(array: np.ndarray[Any, Any]) -> None:
    np.testing.assert_allclose(decoded(encoded(array, CSV)[0], CSV), array)


@pytest.mark.parametrize(
    ("value", "accept", "body", "content_type"),
    [
        ([1, 2], "application/json", b"[1, 2]", JSON),
        ({"a": np.array([1, 2])}, "application/json; charset=utf-8", b'{"a": [1, 2]}', JSON),
        ([[1, 2], [3, 4]], "text/csv", b"1,2\n3,4\n", CSV),
        (7, "text/csv", b"7\n", CSV),
        ([1], "image/png, text/csv;q=0.5", b"1\n", CSV),
        ([1], "*/*", b"[1]", JSON),
        ([1], "text/html, application/*", b"[1]", JSON),
    ],
)
def test_the_first_acceptable_form_that_is_known(
    value: Any, accept: str, body: bytes, content_type: str
) -> None:
    assert encoded(value, accept) == (body, content_type)


def test_what_is_none_of_them() -> None:
    with pytest.raises(Unsupported, match="Content type image/png is not supported"):
        decoded(b"x", "image/png")
    with pytest.raises(Unsupported, match="Accept: image/png names nothing that can be sent"):
        encoded([1], "image/png")
    with pytest.raises(TypeError, match="set is not JSON"):
        encoded({1}, JSON)


def test_a_file_with_pickled_objects_is_refused() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        decoded(file.getvalue(), NPY)


def test_parameters_are_no_part_of_a_content_type() -> None:
    assert plain(" Application/JSON ; charset=utf-8") == JSON
