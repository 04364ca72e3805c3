"""What a model takes: batches, portions, and what does not fit, said in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.ports import (
    NamedTensors,
    Port,
    Size,
    batch_size,
    fixed,
    misfit,
    numbered,
    portions,
    signature,
    unequal,
)
from torchkeeper.wire.messages import Signature, TensorSpec

BATCH = Size(1, 8, "s0")
X = Port("x", "FP32", (BATCH, fixed(4)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ([X], [Port("y", "FP32", (BATCH,))], BATCH),
        ([X], [Port("y")], BATCH),
        ([X], [Port("y", "FP32", (fixed(4),))], None),
        ([X], [Port("y", "FP32", ())], None),
        ([X, Port("z", "FP32", (Size(1, 8, "s1"),))], [], None),
        ([Port("x", "FP32", (fixed(4), fixed(2)))], [Port("y", "FP32", (fixed(4),))], fixed(4)),
        ([Port("x")], [], None),
        ([], [], None),
    ],
)
def test_the_batch_is_the_first_dimension_that_all_share(
    inputs: list[Port], outputs: list[Port], expected: Size | None
) -> None:
    assert batch_size(inputs, outputs) == expected


@given(st.integers(1, 500), st.integers(1, 64))
def test_portions_hold_all_rows_and_none_is_too_large(count: int, high: int) -> None:
    found = portions(count, Size(1, high))
    assert sum(found) == count
    assert max(found) <= high
    assert min(found) >= 1
    assert len(found) == -(-count // high)
    assert portions(count, Size(1, None)) == [count]


@pytest.mark.parametrize(
    ("datatype", "shape", "text"),
    [
        ("FP32", [1, 4], None),
        ("FP32", [8, 4], None),
        (None, [8, 4], None),
        ("FP64", [1, 4], "datatype FP64 is not FP32"),
        ("FP32", [9, 4], "shape [9, 4] is not [1..8, 4]"),
        ("FP32", [0, 4], "shape [0, 4] is not [1..8, 4]"),
        ("FP32", [4], "shape [4] is not [1..8, 4]"),
    ],
)
def test_what_does_not_fit_is_named(datatype: str | None, shape: list[int], text: str | None) -> None:
    assert misfit(X, datatype, shape) == text
    assert misfit(Port("y"), datatype, shape) is None


def test_a_dimension_without_bound_takes_any_length() -> None:
    open_end = Port("y", None, (Size(2),))
    assert misfit(open_end, "FP32", [1 << 40]) is None
    assert misfit(open_end, "FP32", [1]) == "shape [1] is not [2..]"


def test_dimensions_of_one_symbol_are_equally_long() -> None:
    assert unequal([X, X], [[2, 4], [2, 4]]) is None
    assert unequal([X, Port("y", None, (BATCH,))], [[2, 4], [3]]) == (
        "dimension 0 of y is 3 and dimension 0 of x is 2; they must be equal"
    )


def test_what_is_told_of_a_model() -> None:
    assert signature([X], [Port("y")]) == Signature(
        (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", None, None),)
    )


def test_names_and_tensors_by_name() -> None:
    assert numbered("input", [None, "mask", None]) == ["input0", "mask", "input2"]
    found = NamedTensors({"x": [1]}, {"x": "INT64"})
    assert (dict(found), found.datatypes) == ({"x": [1]}, {"x": "INT64"})
