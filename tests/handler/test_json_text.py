"""JSON of requests and answers: Python's json reads what is written, and what it writes is read."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.json_text import answers, dumped, json_text, read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_a_round_trip(value: Any) -> None:
    assert read_json(json_text(value)) == value
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: bytes(data).decode()])
@pytest.mark.parametrize("text", [b'{"a": [1, "\xc3\xa4"]}', b'{"a": NaN, "b": [-Infinity]}'])
def test_texts_of_every_type(make: Any, text: bytes) -> None:
    assert repr(read_json(make(text))) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, b"NaN"),
        ([math.inf, None, -math.inf], b"[Infinity,null,-Infinity]"),
        ({"a": float("nan"), 1: None}, b'{"a":NaN,"1":null}'),
        (None, b"null"),
        ("null", b'"null"'),
    ],
)
def test_no_number_turns_into_nothing(value: Any, text: bytes) -> None:
    assert json_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([[1, 2], [3, 4]]), b"[[1,2],[3,4]]"),
        (torch.tensor(1.5), b"1.5"),
        (np.array([1.0, math.nan]), b"[1.0,NaN]"),
        ({"score": np.float32(0.5), "label": np.int64(3)}, b'{"score":0.5,"label":3}'),
        ((1, {"a": b"bytes"}), b'[1,{"a":"' + base64.b64encode(b"bytes") + b'"}]'),
        ([None, b"bytes", torch.tensor([math.inf])], b'[null,"Ynl0ZXM=",[Infinity]]'),
    ],
)
def test_tensors_arrays_and_bytes(value: Any, text: bytes) -> None:
    assert json_text(value) == text


@pytest.mark.parametrize("value", [object(), [object()], {"a": None, "b": object()}, 1j])
def test_what_json_has_no_form_for(value: Any) -> None:
    with pytest.raises(TypeError, match="is not JSON serializable"):
        json_text(value)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": }', b"nan", b"\xff", b'"\xff"', "{'a': 1}"])
def test_what_is_no_json(text: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"JSON|line|decode|UTF-8|Expecting"):
        read_json(text)


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"NaN"])
def test_any_depth_is_an_error_and_no_crash(deep: bytes) -> None:
    with pytest.raises(ValueError, match="too many levels of nesting"):
        read_json(deep)


def test_an_answer_of_any_depth_is_an_error_and_no_crash() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises((RecursionError, ValueError)):
        json_text(value)


@pytest.fixture
def nan(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says what becomes of NaN, for one test."""
    return lambda policy: monkeypatch.setattr(answers, "nan", policy)


ODD = {"a": [1.5, math.nan, {"b": -math.inf}], "c": None, "NaN": "Infinity"}


def test_nan_stays_unless_asked_for_otherwise(nan: Callable[[str], None]) -> None:
    assert dumped(ODD) == '{"a": [1.5, NaN, {"b": -Infinity}], "c": null, "NaN": "Infinity"}'
    nan("null")
    assert dumped(ODD) == '{"a": [1.5, null, {"b": null}], "c": null, "NaN": "Infinity"}'
    assert json_text(ODD) == b'{"a":[1.5,null,{"b":null}],"c":null,"NaN":"Infinity"}'
    assert dumped({"a": math.nan}, indent=2) == '{\n  "a": null\n}'
    nan("error")
    for write in (dumped, json_text):
        with pytest.raises(ValueError, match="NaN in it, which JSON does not have"):
            write(ODD)


@pytest.mark.parametrize("policy", ["keep", "null", "error"])
@given(
    st.recursive(
        st.none() | st.integers(-(2**60), 2**60) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_has_no_nan_is_written_as_ever(policy: str, value: object) -> None:
    before, answers.nan = answers.nan, policy
    try:
        assert dumped(value) == json.dumps(value)
        assert json.loads(json_text(value)) == value
    finally:
        answers.nan = before
