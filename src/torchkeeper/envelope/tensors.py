"""Tensors of the Open Inference Protocol: how their datatypes look in JSON, in raw bytes and to a handler.

Pure. Source: Open Inference Protocol v2, "Tensor Data", and its binary tensor data extension: raw elements
are little-endian, in row-major order, without padding; each element of BYTES follows its length, uint32.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from torchkeeper.handler.json_text import json_text
from torchkeeper.handler.safe_text import safe_repr
from torchkeeper.wire.raw_tensors import BYTES, elements_of

#: bfloat16, which numpy does not know: the upper half of a float32.
BF16 = "BF16"

#: Datatype -> numpy's dtype.
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: Nested lists that a tensor without elements may become: [n, 0] is n empty lists.
_EMPTY_LISTS = 10_000
_RAW_ONLY = ("FP16", BF16)


class Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that is true when it has elements, like a list.

    Handlers say `row.get("data") or row.get("body")`, where a plain array refuses to be a truth value.
    """

    def __bool__(self) -> bool:
        return self.size > 0


def check_datatype(name: object) -> str:
    """The datatype, if it is one.

    Raises:
        ValueError: it is none; the message lists them.
    """
    if isinstance(name, str) and (name in DTYPES or name in (BYTES, BF16)):
        return name
    raise ValueError(f"datatype {safe_repr(name)} is none of {', '.join((*DTYPES, BF16, BYTES))}")


def check_shape(shape: object) -> list[int]:
    """The shape, if it is one: whole numbers from 0, and at most one -1 for what the data say.

    TorchServe's own requests have a number in place of a list of one, and it reads none.

    Raises:
        ValueError: it is none.
    """
    if type(shape) is int:
        shape = [shape]
    if (
        not isinstance(shape, list)
        or not all(type(size) is int and size >= -1 for size in shape)
        or shape.count(-1) > 1
    ):
        raise ValueError(
            f"shape must be a list of whole numbers from 0 and at most one -1, not {safe_repr(shape)}"
        )
    return shape


def from_json(datatype: str, shape: list[int], data: object) -> Any:
    """What a handler sees of a tensor in JSON: nested lists of the shape; of BYTES a flat list of texts.

    Raises:
        ValueError: the data do not fit datatype or shape.
    """
    found = _from_json(datatype, shape, data)
    return found if datatype == BYTES else found.tolist()


def array_from_json(datatype: str, shape: list[int], data: object) -> Any:
    """A tensor in JSON as an array of its datatype; of BYTES a flat list of texts.

    Raises:
        ValueError: the data do not fit datatype or shape.
    """
    found = _from_json(datatype, shape, data)
    if datatype == BYTES:
        return found
    with np.errstate(over="ignore"):  # FP32 of what is too large for it is infinite
        return found.astype(DTYPES[datatype])


def _from_json(datatype: str, shape: list[int], data: object) -> Any:
    if datatype == BYTES and isinstance(data, str):
        data = [data]  # likewise in place of a list of one
    if not isinstance(data, list):
        raise ValueError("data must be a list")
    if datatype == BYTES:
        texts = _texts(data)
        _check_elements(shape, len(texts))
        return texts
    if datatype in _RAW_ONLY:
        raise ValueError(f"{datatype} has no form in JSON: send the tensor as raw bytes (binary_data_size)")
    flat = _flattened(data)
    values = _values(datatype, flat, set(map(type, flat)))
    _check_count(shape, values.size)
    return values.reshape(shape)


def from_raw(datatype: str, shape: list[int], raw: memoryview) -> Any:
    """What a handler sees of a raw tensor: an array of the shape (BF16 as float32), of BYTES a flat list.

    Raises:
        ValueError: the bytes do not fit datatype or shape.
    """
    if datatype == BYTES:
        elements = elements_of(raw)
        _check_elements(shape, len(elements))
        return elements
    dtype = np.dtype("<u2") if datatype == BF16 else DTYPES[datatype]
    count, left = divmod(len(raw), dtype.itemsize)
    if left:
        raise ValueError(f"{len(raw)} bytes are no whole number of {datatype} elements")
    _check_count(shape, count)
    found = np.frombuffer(raw, np.uint8) != 0 if datatype == "BOOL" else np.frombuffer(raw, dtype)
    if datatype == BF16:
        found = (found.astype("<u4") << 16).view("<f4")
    return found.reshape(shape).view(Array)


def _flattened(data: list[Any]) -> list[Any]:
    """The elements of evenly nested lists, in row-major order."""
    while data and isinstance(data[0], list):
        if set(map(type, data)) != {list} or len(set(map(len, data))) != 1:
            raise ValueError("data must be flat or nested evenly")
        data = list(chain.from_iterable(data))
    return data


def _texts(data: list[Any]) -> list[Any]:
    texts = _flattened(data)
    if not set(map(type, texts)) <= {str}:
        raise ValueError("the elements of a BYTES tensor must be strings in JSON")
    return texts


def _check_elements(shape: list[int], count: int) -> None:
    """TorchServe reads no shape of a single text, and clients send some that do not fit."""
    if count != 1:
        _check_count(shape, count)


def _values(datatype: str, flat: list[Any], types: set[type]) -> np.ndarray[Any, Any]:
    """The values, if every one of them is of the datatype.

    The types come first: numpy would make room for the longest of a list's texts in each of its elements.
    """
    dtype = DTYPES[datatype]
    if not types <= ({bool} if dtype.kind == "b" else {int, float}):
        raise ValueError(f"data has elements that are no {datatype}")
    if dtype.kind == "f":
        dtype = np.dtype(float)  # as they came; the model rounds
    try:
        values = np.array(flat, dtype)
    except (OverflowError, ValueError):
        raise ValueError(f"data has elements outside of {datatype}") from None
    if dtype.kind in "ui" and float in types and not np.array_equal(values, np.array(flat, float)):
        raise ValueError(f"data has elements that are no {datatype}")
    return values


def _check_count(shape: list[int], count: int) -> None:
    if count == 0 and math.prod(size for size in shape if size > 0) > _EMPTY_LISTS:
        raise ValueError(f"shape {safe_repr(shape)} is too large for a tensor without elements")
    known = math.prod(size for size in shape if size != -1)
    if not (known and count % known == 0 if -1 in shape else known == count):
        raise ValueError(f"shape {safe_repr(shape)} does not fit {count} elements")


@dataclass(frozen=True)
class Tensor:
    """An output: an array of numbers, or for BYTES a flat list of texts, bytes and JSON values."""

    datatype: str
    shape: tuple[int, ...]
    values: Any

    def in_json(self) -> Tensor:
        """The tensor with a datatype that JSON has a form for: FP16 becomes FP32."""
        return Tensor("FP32", self.shape, self.values) if self.datatype == "FP16" else self

    def flat(self) -> list[Any]:
        """The elements as JSON values; bytes as text if they are UTF-8, else in base64."""
        if self.datatype != BYTES:
            return list(self.values.ravel().tolist())
        return [_text(value) if isinstance(value, bytes | bytearray) else value for value in self.values]

    def raw(self) -> bytes:
        """The elements as raw bytes; JSON values as their text."""
        if self.datatype != BYTES:
            return bytes(np.ascontiguousarray(self.values, DTYPES[self.datatype]).tobytes())
        encoded = [_bytes(value) for value in self.values]
        return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def output(result: Any) -> Tensor:
    """The tensor of a handler's result: numbers by their type, everything else as BYTES.

    Python's numbers are INT64, FP64 and BOOL as in TorchServe; a single value has the shape ().
    """
    if hasattr(result, "detach"):
        result = _from_torch(result)
    if isinstance(result, str | bytes | bytearray | dict):
        return Tensor(BYTES, (), [result])
    try:
        found = np.asarray(result)
    except ValueError:  # nested unevenly
        return Tensor(BYTES, (len(result),), list(result))
    name = _NAMES.get(found.dtype.newbyteorder("<"))
    if name is not None:
        return Tensor(name, found.shape, found)
    objects = found if found.dtype == object else np.array(result, dtype=object)
    return Tensor(BYTES, objects.shape, objects.ravel().tolist())


def stacked(results: Sequence[Any]) -> Tensor:
    """One tensor of the results of all rows of a batch tensor, with a dimension for the rows in front."""
    return output([_from_torch(result) if hasattr(result, "detach") else result for result in results])


def _from_torch(tensor: Any) -> Any:
    plain = tensor.detach().cpu()
    try:
        return plain.numpy()
    except TypeError:  # bfloat16
        return plain.float().numpy()


def _text(value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes | bytearray) else json_text(value)
