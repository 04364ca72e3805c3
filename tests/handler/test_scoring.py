"""MLflow's scoring protocol by tables: which tensors a body becomes, what is refused, what an answer is."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlflow_models import COLUMNS, mlmodel_text, tensor
from torchkeeper.handler.scoring import FORMS, Question, answer, read_body, read_csv, read_tensors, torch_type
from torchkeeper.wire.mlmodel import Mlmodel, TensorInput, read_mlmodel

NAN = math.nan
PLAIN = Mlmodel("data")


def model(*inputs: dict[str, Any], params: Any = None) -> Mlmodel:
    return read_mlmodel(mlmodel_text(list(inputs), params))


NAMED = model(*COLUMNS)
ONE_COLUMN = model({"name": "a", "type": "long"})
UNNAMED = model({"type": "double"}, {"type": "long"})
OPTIONAL = model({"name": "a", "type": "double"}, {"name": "b", "type": "double", "required": False})
ARRAY = model(tensor(-1, 3))
PICTURE = model(tensor(-1, 2, 2))
SCALARS = model(tensor(-1, 1))
IDS = model(tensor(-1, -1, dtype="int64", name="ids"))
TWO = model(tensor(-1, dtype="int64", name="ids"), tensor(-1, 2, name="more"))


def split(data: Any, columns: Any = None) -> dict[str, Any]:
    return {"dataframe_split": {"data": data} if columns is None else {"data": data, "columns": columns}}


def records(*given: Any) -> dict[str, Any]:
    return {"dataframe_records": list(given)}


@pytest.mark.parametrize(
    ("described", "body", "found", "dtype", "table"),
    [
        (PLAIN, split([[1, "2.5"]]), [[1, 2.5]], torch.float32, True),
        (PLAIN, {"instances": [[1.5, 2]]}, [[1.5, 2]], torch.float16, False),
        (PLAIN, {"inputs": [[1, 2]]}, [[1, 2]], torch.int64, False),
        (PLAIN, {"inputs": [True]}, [True], torch.bool, False),
        (NAMED, split([[3, 1, 2, 9]], ["c", "a", "b", "more"]), [[1, 2, 3]], torch.float32, True),
        (NAMED, records({"b": 2, "a": 1}, {"c": 3, "a": 1}), [[1, 2, NAN], [1, NAN, 3]], torch.float32, True),
        (NAMED, {"instances": [{"a": 1, "b": 2, "c": 3}]}, [[1, 2, 3]], torch.float32, True),
        (NAMED, {"inputs": {"a": [1, 4], "b": [2, 5], "c": [3, 6]}}, [[1, 2, 3], [4, 5, 6]], None, True),
        (NAMED, {"inputs": {"a": 1, "b": 2, "c": 3}}, [[1, 2, 3]], torch.float32, True),
        (ONE_COLUMN, {"inputs": [1, 2]}, [[1], [2]], torch.float32, True),
        (ONE_COLUMN, {"inputs": 7}, [[7]], torch.float32, True),
        (UNNAMED, {"instances": [[1.5, 2, 9]]}, [[1.5, 2]], torch.float32, True),
        (UNNAMED, split([[1.5, 2]], ["x", "y"]), [[1.5, 2]], torch.float32, True),
        (OPTIONAL, split([[1]], ["a"]), [[1]], torch.float32, True),
        (ARRAY, {"inputs": [[1, 2, None]]}, [[1, 2, NAN]], torch.float32, False),
        (ARRAY, split([[1, 2, 3]], ["x", "y", "z"]), [[1, 2, 3]], torch.float32, False),
        (ARRAY, split([[[1, 2, 3]]], ["x"]), [[1, 2, 3]], torch.float32, False),
        (PICTURE, split([[[1, 2, 3, 4]]], ["x"]), [[[1, 2], [3, 4]]], torch.float32, False),
        (PICTURE, split([[[[1, 2], [3, 4]]]], ["x"]), [[[1, 2], [3, 4]]], torch.float32, False),
        (SCALARS, split([[1], [2]], ["x"]), [[1], [2]], torch.float32, False),
        (IDS, {"inputs": [[1, 2.0]]}, [[1, 2]], torch.int64, False),
        (IDS, {"instances": [{"ids": [1]}, {"ids": [2]}]}, [[1], [2]], torch.int64, False),
    ],
)
def test_what_a_body_becomes(
    described: Mlmodel, body: Any, found: Any, dtype: torch.dtype | None, table: bool
) -> None:
    for content in (body, json.dumps(body).encode(), json.dumps(body)):
        question = read_body(content, described, torch.float16)
        (first,) = question.tensors
        assert (first.dtype, question.table) == (dtype or torch.float32, table)
        torch.testing.assert_close(first, torch.tensor(found, dtype=first.dtype), equal_nan=True)


def test_several_inputs_come_in_the_signatures_order() -> None:
    rows = {"more": [[1, 2], [3, 4]], "ids": [5, 6], "unknown": 1}
    for body in (
        {"inputs": rows},
        {"instances": [{"ids": 5, "more": [1, 2]}, {"more": [3, 4], "ids": 6}]},
        split([[[1, 2], 5], [[3, 4], 6]], ["more", "ids"]),
    ):
        ids, more = read_body(body, TWO, torch.float32).tensors
        assert (ids.tolist(), more.tolist()) == ([5, 6], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("described", "body", "why"),
    [
        (PLAIN, b"{", "it is no JSON"),
        (PLAIN, b"\xff", "it is no JSON"),
        (PLAIN, [[1]], "with one of dataframe_split, dataframe_records, instances, inputs, or text/csv"),
        (PLAIN, {"messages": []}, "with one of"),
        (PLAIN, {"inputs": [1], "instances": [1]}, "with one of"),
        (PLAIN, {"inputs": [[1], [1, 2]]}, "nested evenly"),
        (PLAIN, {"inputs": [None]}, "must be numbers"),
        (PLAIN, {"inputs": ["1"]}, "must be numbers"),
        (PLAIN, {"inputs": [1 << 70]}, "must be numbers"),
        (PLAIN, {"inputs": {"a": [1]}}, "has no signature"),
        (PLAIN, {"instances": [{"a": 1}]}, "has no signature"),
        (PLAIN, records(), "no columns"),
        (NAMED, {"inputs": [[1, 2, 3]]}, "inputs a, b, c are missing; the request has 0, 1, 2"),
        (NAMED, split([[1, 2]], ["a", "x"]), "inputs b, c are missing; the request has 'a', 'x'"),
        (NAMED, split([[1, 2, {}]], ["a", "b", "c"]), "column 'c', row 0: {} is no number"),
        (ONE_COLUMN, {"inputs": [1.5]}, "column 'a', row 0: 1.5 is no long"),
        (NAMED, split([[1, 2, 1e39]], ["a", "b", "c"]), "the table has numbers that are too large for FP32"),
        (PLAIN, {"inputs": [1e39]}, "the input has numbers that are too large for FP32"),
        (ARRAY, {"inputs": [[1, 2, 1e39]]}, "the input has numbers that are too large for FP32"),
        (Mlmodel("data", tensors=(TensorInput(None, "float32", ()),)), split([[1]]), "input of shape []"),
        (UNNAMED, {"inputs": [[1]]}, "takes 2 columns; the table has 1"),
        (ARRAY, {"inputs": [[1, 2]]}, "has the shape [1, 2], not [-1, 3]"),
        (ARRAY, {"inputs": "abc"}, "must be numbers"),
        (ARRAY, {"inputs": {"a": [1]}}, "has no name: send an array"),
        (ARRAY, split([[1, 2]]), "has the shape [1, 2]"),
        (ARRAY, split([], ["x", "y", "z"]), "has the shape [0]"),
        (IDS, {"inputs": [[1.5]]}, "has numbers that are no INT64"),
        (IDS, {"inputs": {"x": [1]}}, "inputs ids are missing; the request has 'x'"),
        (IDS, split([[[1, 2]]], ["ids"]), "a table cannot be the input of shape [-1, -1]"),
        (TWO, {"inputs": [[1]]}, "takes the inputs ids, more: send them by their names"),
        (TWO, {"inputs": {"ids": [1], "more": [[1]]}}, "the input more has the shape [1, 1], not [-1, 2]"),
    ],
)
def test_what_does_not_fit_is_said(described: Mlmodel, body: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        read_body(body, described, torch.float32)


NAMES = ("a", "b", "c", "ids", "more", "data", "columns", "index")
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = st.recursive(
    CELLS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "ids", "more", "data", "columns", "index"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from([PLAIN, NAMED, ONE_COLUMN, UNNAMED, ARRAY, PICTURE, SCALARS, IDS, TWO]),
    st.builds(lambda form, value: {form: value}, st.sampled_from(FORMS), VALUES) | VALUES,
)
def test_whatever_a_body_holds_it_is_a_question_or_refused(described: Mlmodel, body: Any) -> None:
    with contextlib.suppress(ValueError):
        assert read_body(body, described, torch.float32).tensors


def test_csv() -> None:
    question = read_csv("c,a,b\n3,1,\n", NAMED)
    assert question.table
    torch.testing.assert_close(question.tensors[0], torch.tensor([[1, NAN, 3]]), equal_nan=True)
    assert read_csv("ids\n1\n", model(tensor(-1, dtype="int32", name="ids"))).tensors[0].tolist() == [1]


@pytest.mark.parametrize(
    ("described", "given", "found", "dtype"),
    [
        (PLAIN, {"x": np.array([[1, 2]], np.uint8)}, [[1, 2]], torch.uint8),
        (PLAIN, {"x": np.array([[1.5]], np.float64)}, [[1.5]], torch.float16),
        (ARRAY, {"x": np.array([[1, 2, 3]], np.float32)}, [[1, 2, 3]], torch.float32),
        (ARRAY, {"x": np.array([[1, 2, 3]], np.int8)}, [[1, 2, 3]], torch.float32),
        (IDS, {"ids": np.array([[1, 2]], np.int32)}, [[1, 2]], torch.int64),
        (UNNAMED, {"x": np.array([[1.5, 2]])}, [[1.5, 2]], torch.float32),
        (NAMED, dict(zip("cba", np.array([[[3]], [[2]], [[1]]]), strict=True)), [[1, 2, 3]], torch.float32),
        (
            NAMED,
            {name: np.zeros((2, 2)) for name in "abc"},
            "column 'a', row 0: [0.0, 0.0] is no number",
            None,
        ),
        (ARRAY, {"x": np.zeros((1, 2), np.float32)}, "has the shape [1, 2]", None),
        (ARRAY, {"x": np.array([b"x"], object)}, "must be numbers", None),
        (PLAIN, {"x": np.array([b"x"], object)}, "must be numbers", None),
        (ARRAY, {"x": np.zeros(1), "y": np.zeros(1)}, "one input without a name; the request has 2", None),
        (IDS, {"x": np.zeros(1)}, "inputs ids are missing", None),
    ],
)
def test_arrays_by_name(described: Mlmodel, given: Any, found: Any, dtype: torch.dtype | None) -> None:
    for array in given.values():
        array.flags.writeable = False
    if isinstance(found, str):
        with pytest.raises(ValueError, match=re.escape(found)):
            read_tensors(given, described, torch.float16)
    else:
        (tensor,) = read_tensors(given, described, torch.float16).tensors
        assert (tensor.dtype, tensor.tolist()) == (dtype, found)


PARAMS = [
    {"name": "k", "type": "integer", "default": 5, "shape": None},
    {"name": "f", "type": "double", "default": 0.5, "shape": None},
    {"name": "on", "type": "boolean", "default": False, "shape": None},
    {"name": "words", "type": "string", "default": None, "shape": [-1]},
    {"name": "when", "type": "datetime", "default": "2026-01-01", "shape": None},
]
DEFAULTS = {"k": 5, "f": 0.5, "on": False, "words": None, "when": "2026-01-01"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {}),
        ({"unknown": 1}, {}),
        ({"k": 7, "f": 2}, {"k": 7, "f": 2.0}),
        ({"on": True, "words": ["a", "b"]}, {"on": True, "words": ["a", "b"]}),
        ({"k": None}, {"k": None}),
        ({"k": 1.5}, "k must be of type integer"),
        ({"k": True}, "k must be of type integer"),
        ({"on": 1}, "on must be of type boolean"),
        ({"words": "a"}, "words must be an array"),
        ({"words": [1]}, "words must be of type string"),
        ({"when": "2026-02-02"}, "when must be of type datetime"),
        ([1], "params must be an object"),
    ],
)
def test_params(given: Any, found: Any) -> None:
    described = model(tensor(-1), params=PARAMS)
    body = {"inputs": [1.0], "params": given}
    if isinstance(found, str):
        with pytest.raises(ValueError, match=found):
            read_body(body, described, torch.float32)
    else:
        assert read_body(body, described, torch.float32).params == DEFAULTS | found
    assert read_body({"inputs": [1.0], "params": {"k": 1}}, PLAIN, torch.float32).params == {}


@pytest.mark.parametrize(
    ("output", "rows", "found"),
    [
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 2, [{"0": 1.0, "1": 2.0}, {"0": 3.0, "1": 4.0}]),
        (torch.tensor([1, 2]), 2, [{"0": 1}, {"0": 2}]),
        (torch.zeros(0, 2), 0, []),
        (torch.zeros(1, 2), 2, None),
        (torch.zeros(2, 2, 2), 2, None),
        (torch.tensor(1.0), 2, None),
        ((torch.zeros(2),), 2, None),
        ({"a": torch.zeros(2)}, 2, None),
    ],
)
def test_a_tables_answer_is_its_records(output: Any, rows: int, found: Any) -> None:
    if found is None:
        with pytest.raises(ValueError, match=r"the model gives a|is no table of 2 rows"):
            answer(output, True, rows)
    else:
        assert answer(output, True, rows) == found


def test_an_arrays_answer_is_an_array() -> None:
    assert answer(torch.zeros(1, 2, dtype=torch.bfloat16), False, 1) == [[0.0, 0.0]]
    assert answer(torch.tensor(7), False, None) == 7


def test_questions_of_one_lane() -> None:
    def lane(*shape: int, **params: Any) -> Any:
        return Question((torch.zeros(shape),), params=params).lane

    assert lane(1, 2) == lane(5, 2)
    assert len({lane(1, 2), lane(1, 3), lane(1, 2, k=[1])}) == 3
    assert Question((torch.zeros(2), torch.zeros(3))).rows is None
    assert Question((torch.tensor(1),)).rows is None


def test_a_type_that_no_tensor_has() -> None:
    assert torch_type(TensorInput(None, "uint8", (1,))) is torch.uint8
    with pytest.raises(ValueError, match="type str, which is no tensor's"):
        torch_type(TensorInput(None, "str", (-1,)))
