"""Tensors in JSON, in raw bytes and as handlers' results."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.envelope.tensors import (
    DTYPES,
    check_datatype,
    check_shape,
    from_json,
    from_raw,
    output,
    stacked,
)
from torchkeeper.wire.raw_tensors import BYTES

shapes = st.lists(st.integers(0, 4), max_size=3)


def elements(datatype: str) -> st.SearchStrategy[Any]:
    dtype = DTYPES[datatype]
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind == "f":
        return st.floats(width=dtype.itemsize * 8)  # type: ignore[arg-type]  # 16, 32 or 64
    return st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


@given(st.data(), st.sampled_from(sorted(DTYPES)), shapes)
def test_raw_tensors_come_back_as_they_went(data: st.DataObject, datatype: str, shape: list[int]) -> None:
    count = int(np.prod(shape))
    values = data.draw(st.lists(elements(datatype), min_size=count, max_size=count))
    array = np.array(values, DTYPES[datatype]).reshape(shape)
    found = from_raw(datatype, shape, memoryview(bytearray(array.tobytes())))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert bool(found) == (array.size > 0)
    back = output(found)
    assert (back.datatype, list(back.shape), back.raw()) == (datatype, shape, array.tobytes())


@given(st.data(), st.sampled_from(sorted(set(DTYPES) - {"FP16"})), shapes)
def test_tensors_in_json_come_back_as_they_went(data: st.DataObject, datatype: str, shape: list[int]) -> None:
    count = int(np.prod(shape))
    values = data.draw(st.lists(elements(datatype), min_size=count, max_size=count))
    nested = np.array(values, DTYPES[datatype]).reshape(shape).tolist()
    for form in (values, nested):
        if isinstance(form, list):
            found = from_json(datatype, shape, form)
            assert np.array_equal(np.array(found, DTYPES[datatype]), np.array(nested, DTYPES[datatype]), True)
    flat = output(np.array(values, DTYPES[datatype])).in_json().flat()
    assert np.array_equal(np.array(json.loads(json.dumps(flat)), DTYPES[datatype]), np.array(values), True)


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_raw_bytes_come_back_as_they_went(values: list[bytes]) -> None:
    raw = b"".join(struct.pack("<I", len(value)) + value for value in values)
    assert from_raw(BYTES, [len(values)], memoryview(raw)) == values
    assert output(np.array([*values, None], dtype=object)[:-1]).raw() == raw


def test_bfloat16_widens() -> None:
    tensor = torch.tensor([1.5, -2.0, 3.0]).bfloat16()
    raw = tensor.view(torch.int16).numpy().tobytes()
    found = from_raw("BF16", [-1], memoryview(raw))
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, -2.0, 3.0]
    assert output(tensor).datatype == "FP32"


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "text"),
    [
        ("FP32", [1], "x", "data must be a list"),
        ("FP32", [1], None, "data must be a list"),
        ("FP32", [2], ["a", "b"], "elements that are no FP32"),
        ("FP32", [3], [1, 2], r"shape \[3\] does not fit 2 elements"),
        ("FP32", [2, -1], [1, 2, 3], "does not fit 3 elements"),
        ("FP32", [0, -1], [1], "does not fit 1 elements"),
        ("FP32", [0, -1], [], "does not fit 0 elements"),
        ("FP32", [10_001, 0], [], "is too large for a tensor without elements"),
        ("BYTES", [2, 10_000, 0], [], "is too large for a tensor without elements"),
        ("INT64", [2], [True, 2], "elements that are no INT64"),
        ("FP32", [2], [[1, 2], [3]], "nested evenly"),
        ("FP16", [1], [1.0], "FP16 has no form in JSON"),
        ("UINT8", [1], [256], "outside of UINT8"),
        ("UINT8", [1], [-1], "outside of UINT8"),
        ("INT64", [1], [1.5], "elements that are no INT64"),
        ("INT64", [1], [2**63], "outside of INT64"),
        ("INT64", [1], [2**70], "outside of INT64"),
        ("INT32", [1], [float("nan")], "INT32"),
        ("BOOL", [1], [1], "elements that are no BOOL"),
        ("FP32", [2], [[1], 2], "nested evenly"),
        ("FP32", [1], [None], "elements that are no FP32"),
        ("BYTES", [1], [1], "must be strings"),
        ("BYTES", [2], [["a"], "b"], "nested evenly"),
        ("BYTES", [3], ["a", "b"], "does not fit 2 elements"),
    ],
)
def test_data_that_do_not_fit(datatype: str, shape: list[int], data: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        from_json(datatype, shape, data)


def test_a_long_text_among_numbers_takes_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="elements that are no FP32"):
        from_json("FP32", [2000], ["x" * 200_000] + ["x"] * 1999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "text"),
    [
        ("FP32", [1], b"abc", "3 bytes are no whole number of FP32 elements"),
        ("FP32", [2], b"abcd", r"shape \[2\] does not fit 1 elements"),
        ("FP32", [10**12, 0], b"", "is too large for a tensor without elements"),
        ("BYTES", [1], b"\x01\x00", "needs its length in four bytes"),
        ("BYTES", [1], b"\x05\x00\x00\x00ab", "of 5 bytes, of which 2 are there"),
        ("BYTES", [3], b"\x00\x00\x00\x00" * 2, "does not fit 2 elements"),
    ],
)
def test_raw_data_that_do_not_fit(datatype: str, shape: list[int], raw: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        from_raw(datatype, shape, memoryview(raw))


def test_a_number_and_a_text_in_place_of_lists_of_one() -> None:
    assert check_shape(-1) == [-1]
    assert from_json(BYTES, check_shape(-1), "this year business is good") == ["this year business is good"]
    assert from_json("INT64", check_shape(3), [101, 102, 0]) == [101, 102, 0]
    with pytest.raises(ValueError, match="data must be a list"):
        from_json("INT64", [1], 3)


@pytest.mark.parametrize("shape", [None, "x", True, -2, [1.0], [True], [-2], [-1, -1], ["1"]])
def test_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(ValueError, match="shape must be a list of whole numbers"):
        check_shape(shape)


@pytest.mark.parametrize("name", [None, "FP8", 3, "fp32"])
def test_what_is_no_datatype(name: Any) -> None:
    with pytest.raises(ValueError, match=r"is none of BOOL, UINT8.*BF16, BYTES"):
        check_datatype(name)


@pytest.mark.parametrize(
    ("result", "datatype", "shape", "flat"),
    [
        (3, "INT64", (), [3]),
        (1.5, "FP64", (), [1.5]),
        (True, "BOOL", (), [True]),
        ("cat", "BYTES", (), ["cat"]),
        (b"cat", "BYTES", (), ["cat"]),
        (b"\xff", "BYTES", (), ["/w=="]),
        ({"cat": 0.5}, "BYTES", (), [{"cat": 0.5}]),
        (None, "BYTES", (), [None]),
        ([], "FP64", (0,), []),
        ([1, 2], "INT64", (2,), [1, 2]),
        ([[1.0], [2.0]], "FP64", (2, 1), [1.0, 2.0]),
        (["a", "b\0"], "BYTES", (2,), ["a", "b\0"]),
        ([{"a": 1}, {"b": 2}], "BYTES", (2,), [{"a": 1}, {"b": 2}]),
        ([[1, 2], [3]], "BYTES", (2,), [[1, 2], [3]]),
        (np.array([1], "<i4"), "INT32", (1,), [1]),
        (np.array([1], ">i2"), "INT16", (1,), [1]),
        (torch.tensor([[0.5]]), "FP32", (1, 1), [0.5]),
        (torch.tensor([0.5], requires_grad=True), "FP32", (1,), [0.5]),
    ],
)
def test_results_as_outputs(result: Any, datatype: str, shape: tuple[int, ...], flat: list[Any]) -> None:
    found = output(result)
    assert (found.datatype, found.shape, found.flat()) == (datatype, shape, flat)


def test_half_precision_is_widened_where_json_has_no_form() -> None:
    found = output(np.array([0.5], "<f2"))
    assert (found.datatype, found.in_json().datatype, len(found.raw())) == ("FP16", "FP32", 2)


@pytest.mark.parametrize(
    ("results", "datatype", "shape"),
    [
        ([1, 2, 3], "INT64", (3,)),
        ([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], "FP32", (2, 2)),
        ([{"a": 1}, {"b": 2}], "BYTES", (2,)),
        ([], "FP64", (0,)),
    ],
)
def test_stacked_results(results: list[Any], datatype: str, shape: tuple[int, ...]) -> None:
    found = stacked(results)
    assert (found.datatype, found.shape) == (datatype, shape)
