"""ModelInfer's messages as REST bodies and back: every datatype, raw and typed, and what is refused."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.errors import BadRequest, TorchkeeperError
from torchkeeper.rpc.schema import message
from torchkeeper.rpc.tensors import body_of, response_of
from torchkeeper.wire.messages import Reply
from torchkeeper.wire.raw_tensors import AS_LISTS, LENGTH_HEADER

ModelInferRequest = message("inference.ModelInferRequest")

#: Datatype -> the field of its typed contents, numpy's dtype, example values.
TYPED: dict[str, tuple[str, str, list[Any]]] = {
    "BOOL": ("bool_contents", "?", [True, False]),
    "INT8": ("int_contents", "<i1", [-128, 127]),
    "INT16": ("int_contents", "<i2", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", "<i4", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", "<i8", [-(2**63), 2**63 - 1]),
    "UINT8": ("uint_contents", "<u1", [0, 255]),
    "UINT16": ("uint_contents", "<u2", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", "<u4", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", "<u8", [0, 2**64 - 1]),
    "FP32": ("fp32_contents", "<f4", [0.5, -1.25]),
    "FP64": ("fp64_contents", "<f8", [0.1, -1e300]),
}


def split(body: bytes, headers: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    length = int(headers[LENGTH_HEADER])
    return json.loads(body[:length]), body[length:]


def answer(outputs: list[tuple[str, list[int], bytes]]) -> Reply:
    """What the envelope answers."""
    head = json.dumps(
        {
            "id": "7",
            "model_name": "m",
            "model_version": "1.0",
            "outputs": [
                {
                    "name": f"o{place}",
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {"binary_data_size": len(raw)},
                }
                for place, (datatype, shape, raw) in enumerate(outputs)
            ],
        }
    ).encode()
    return Reply(head + b"".join(raw for *_, raw in outputs), headers={LENGTH_HEADER: str(len(head))})


WHOLE = answer([("INT32", [1], bytes(4))])


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_go_raw_and_come_back_typed(datatype: str) -> None:
    field, dtype, values = TYPED[datatype]
    request = ModelInferRequest(
        id="7", inputs=[{"name": "a", "datatype": datatype, "shape": [2], "contents": {field: values}}]
    )
    head, rest = split(*body_of(request))
    assert rest == np.array(values, dtype).tobytes()
    travel = {"binary_data_size": len(rest), AS_LISTS: True}
    assert head == {
        "id": "7",
        "parameters": {"binary_data_output": True},
        "inputs": [{"name": "a", "datatype": datatype, "shape": [2], "parameters": travel}],
        "outputs": [],
    }
    response = response_of(answer([(datatype, [2], np.array(values, dtype).tobytes())]), raw=False)
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("o0", datatype, [2])
    assert list(getattr(output.contents, field)) == values
    assert not response.raw_output_contents


def test_bytes() -> None:
    png = {"bytes_contents": [b"\x89PNG"]}
    typed = ModelInferRequest(inputs=[{"name": "a", "datatype": "BYTES", "shape": [1], "contents": png}])
    head, _ = split(*body_of(typed))
    assert head["inputs"][0]["data"] == ["iVBORw=="]
    raw = struct.pack("<I", 2) + b"\xff\x00" + struct.pack("<I", 0)
    response = response_of(answer([("BYTES", [2], raw)]), raw=False)
    assert list(response.outputs[0].contents.bytes_contents) == [b"\xff\x00", b""]
    assert list(response_of(answer([("BYTES", [2], raw)]), raw=True).raw_output_contents) == [raw]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_raw_contents_go_behind_the_json_in_their_order(contents: list[bytes]) -> None:
    inputs = [
        {"name": f"i{place}", "datatype": "UINT8", "shape": [len(raw)]} for place, raw in enumerate(contents)
    ]
    head, rest = split(*body_of(ModelInferRequest(inputs=inputs, raw_input_contents=contents)))
    assert rest == b"".join(contents)
    sizes = [tensor["parameters"]["binary_data_size"] for tensor in head["inputs"]]
    assert sizes == [len(raw) for raw in contents]
    outputs = [("UINT8", [len(raw)], raw) for raw in contents]
    assert list(response_of(answer(outputs), raw=True).raw_output_contents) == contents


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_values_that_json_does_not_have(datatype: str, value: float) -> None:
    field, dtype, _ = TYPED[datatype]
    tensors = [
        {"name": "a", "datatype": datatype, "shape": [2], "contents": {field: [1.0, value]}},
        {"name": "b", "datatype": "INT8", "shape": [1], "contents": {"int_contents": [3]}},
    ]
    head, rest = split(*body_of(ModelInferRequest(inputs=tensors)))
    first, second = (tensor["parameters"]["binary_data_size"] for tensor in head["inputs"])
    assert (first, second) == (len(rest) - 1, 1)
    rest, last = rest[:-1], rest[-1:]
    assert (rest, last) == (np.array([1.0, value], dtype).tobytes(), b"\3")
    response = response_of(answer([(datatype, [2], rest)]), raw=False)
    np.testing.assert_array_equal(getattr(response.outputs[0].contents, field), [1.0, value])


def test_fp16_has_raw_contents_only() -> None:
    half = np.array([0.5, -2.0], "<f2").tobytes()
    assert response_of(answer([("FP16", [2], half)]), raw=True).outputs[0].datatype == "FP16"
    typed = response_of(answer([("FP16", [2], half)]), raw=False).outputs[0]
    assert (typed.datatype, list(typed.contents.fp32_contents)) == ("FP32", [0.5, -2.0])


def test_parameters_and_wanted_outputs() -> None:
    request = ModelInferRequest(
        parameters={
            "target": {"int64_param": 3},
            "text": {"string_param": "x"},
            "half": {"double_param": 0.5},
            "big": {"uint64_param": 2**64 - 1},
            "binary_data_output": {"bool_param": False},
            "nothing": {},
        },
        inputs=[
            {
                "name": "a",
                "datatype": "BOOL",
                "shape": [0],
                "parameters": {"binary_data_size": {"int64_param": 99}, "flag": {"bool_param": True}},
            }
        ],
        outputs=[{"name": "a", "parameters": {"binary_data": {"bool_param": False}}}],
    )
    head, _ = split(*body_of(request))
    parameters = {"flag": True, "binary_data_size": 0, AS_LISTS: True}
    assert head == {
        "parameters": {
            "target": 3,
            "text": "x",
            "half": 0.5,
            "big": 2**64 - 1,
            "binary_data_output": True,
        },
        "inputs": [{"name": "a", "datatype": "BOOL", "shape": [0], "parameters": parameters}],
        "outputs": [{"name": "a", "parameters": {}}],
    }


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"inputs": [{"name": "a", "datatype": "INT8", "contents": {"int_contents": [128]}}]},
            "inputs[0] (a): int_contents has values outside of INT8.",
        ),
        (
            {
                "inputs": [{"name": "a", "datatype": "INT8", "contents": {"int_contents": [1]}}],
                "raw_input_contents": [b"\x01"],
            },
            "raw_input_contents and contents are mixed: a request has one or the other.",
        ),
        (
            {"inputs": [{"name": "a"}, {"name": "b"}], "raw_input_contents": [b"\x01"]},
            "raw_input_contents has 1 elements for 2 inputs; each needs one.",
        ),
        (
            {"inputs": [{"name": "a", "datatype": "INT8", "contents": {"fp32_contents": [1]}}]},
            "inputs[0] (a): INT8 has its values in int_contents, not in fp32_contents.",
        ),
        (
            {"inputs": [{"name": "a", "datatype": "BF16"}]},
            "inputs[0] (a): 'BF16' has no typed contents; send it raw, or one of ",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        body_of(ModelInferRequest(**fields))
    assert caught.value.message.startswith(text)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"7"),
        Reply(b"{"),
        Reply(b'{"outputs": []}'),
        Reply(b"{}", headers={LENGTH_HEADER: "x"}),
        answer([("BYTES", [1], b"\x09\x00\x00\x00a")]),
        answer([("BYTES", [1], b"\x09")]),
        answer([("INT32", [1], b"\x09")]),
        Reply(
            answer([("INT32", [1], bytes(4))]).body[:-1], headers=answer([("INT32", [1], bytes(4))]).headers
        ),
    ],
)
def test_an_answer_that_is_none_is_an_error(reply: Reply) -> None:
    with pytest.raises(TorchkeeperError, match="no infer response"):
        response_of(reply, raw=False)
