"""What a model takes, as people write it."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.export.inputs import inputs_of, read_input, taken
from torchkeeper.handler.ports import Port, Size, fixed


def test_an_input_has_name_datatype_and_shape() -> None:
    found = read_input("x:FP32:-1,3,8")
    assert found == Port("x", "FP32", (Size(1), fixed(3), fixed(8)))
    assert taken([found, read_input("ids:INT64:2")]) == "x FP32 [1.., 3, 8], ids INT64 [2]"


@pytest.mark.parametrize(
    "text", ["", "x", "x:FP32", "x:FP32:", "x:FLOAT:1", ":FP32:1", "x:FP32:0", "x:FP32:a"]
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no input: write NAME:DATATYPE:SHAPE, such as x:FP32:-1,3,224,224"
    ):
        read_input(text)


@pytest.mark.parametrize(
    ("described", "handler", "names"),
    [
        ([{"name": "a", "datatype": "FP32", "shape": [-1, 2]}], "image_classifier", ["a"]),
        (None, "image_classifier", ["x"]),
        (None, "h.py", []),
        ([{"name": "a"}], "image_classifier", []),
        ("text", None, []),
    ],
)
def test_who_knows_the_inputs(described: Any, handler: str | None, names: list[str]) -> None:
    assert [port.name for port in inputs_of(described, handler)] == names
