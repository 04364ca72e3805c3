"""Infer requests of KServe v2 through the envelope, as a worker's service hands them over."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchkeeper.wire.messages import Failure, Input, Kind, ModelSpec, Part, Reply
from torchkeeper.wire.raw_tensors import LENGTH_HEADER
from torchkeeper.worker.loader import load
from torchkeeper.worker.service import Service

#: Answers each row with what `ANSWER` makes of it, and remembers what came.
HANDLER = """
import numpy as np
seen = []
def handle(data, context):
    if data is None:
        return None
    seen.append(data)
    context.set_response_header(len(data) - 1, "last-row", str(len(data)))
    return [answer(row, context, place) for place, row in enumerate(data)]
def answer(row, context, place):
    if row["name"] == "who":
        return context.get_request_header(place, "who") + "/" + context.get_request_id(place)
    if row["name"] == "bad":
        return object()
    if row["name"] == "target":
        return row["target"]
    if row["name"] == "kind":
        return type(row["data"]).__name__
    if row["name"] == "shape":
        return row["shape"]
    return row["data"]
"""


class Nobody:
    def send(self, parts: Any) -> None:
        raise AssertionError("a part was sent")

    def gone(self) -> tuple[int, ...]:
        return ()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Service:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.py").write_text(HANDLER)
    spec = ModelSpec(
        "net",
        "2.1",
        str(tmp_path),
        {"model": {"modelVersion": "2.1"}},
        "h.py:handle",
        None,
        None,
        8,
        None,
        model_config=getattr(request, "param", {}),
    )
    return load(spec, 1 << 20)


def asked(body: Any, number: int = 0, raw: bytes | None = None, **headers: str) -> Input:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    if raw is not None:
        headers[LENGTH_HEADER.lower()] = str(len(text))
        text += raw
    return Input(f"id-{number}", Kind.PREDICT, (Part("body", text),), headers, "kservev2")


def tensor(data: Any, name: str = "x", datatype: str = "FP32", shape: Any = None, **more: Any) -> Any:
    found = {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, **more}
    return found if data is ... else found | {"data": data}


def answered(service: Service, *inputs: Input) -> list[Any]:
    return [
        json.loads(reply.body) if isinstance(reply, Reply) else (reply.status, reply.message)
        for reply in service.predict(inputs, Nobody())
    ]


def test_each_request_of_a_batch_gets_its_own_answer(service: Service) -> None:
    requests = [
        asked({"inputs": [tensor([1, 2]), tensor([3], name="y")], "id": "mine"}),
        asked({"inputs": []}, 1),
        asked({"inputs": [tensor([], name="who")]}, 2, who="me"),
        asked({"inputs": [tensor(["hi"], "t", "BYTES")]}, 3),
    ]
    first, second, third, fourth = answered(service, *requests)
    assert first == {
        "id": "mine",
        "model_name": "net",
        "model_version": "2.1",
        "outputs": [
            {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]},
            {"name": "y", "datatype": "FP64", "shape": [1], "data": [3.0]},
        ],
    }
    assert second == (400, 'the body must have "inputs", a list of tensors')
    assert third["id"] == "id-2"
    assert third["outputs"][0]["data"] == ["me/id-2"]
    assert fourth["outputs"] == [{"name": "t", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]


def test_headers_and_status_set_for_a_row_are_its_requests(service: Service) -> None:
    body = {"inputs": [tensor([1]), tensor([2])]}
    first, second = service.predict([asked(body), asked(body, 1)], Nobody())
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert "last-row" not in first.headers
    assert second.headers["last-row"] == "4"
    assert first.content_type == "application/json"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"[1]", "must be a JSON object, not an array"),
        ({}, 'must have "inputs"'),
        ({"inputs": 3}, 'must have "inputs"'),
        ({"inputs": [0] * 10_001}, "inputs has 10001 tensors; a request may have 10000"),
        ({"inputs": [3]}, "inputs[0]: an input must be an object, not a number"),
        ({"inputs": [{}]}, "inputs[0]: name must be a string"),
        ({"inputs": [{"name": "a"}]}, "inputs[0] (a): datatype None is none of"),
        ({"inputs": [{"name": "a", "datatype": "FP32"}]}, "inputs[0] (a): shape must be a list"),
        ({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1]}]}, "inputs[0] (a): data must be a list"),
        ({"inputs": [tensor([1]), tensor([1], shape=[2])]}, "inputs[1] (x): shape [2] does not fit"),
        ({"inputs": [tensor([1], parameters=3)]}, "inputs[0] (x): parameters must be an object"),
        ({"inputs": [tensor([1])], "parameters": []}, "parameters must be an object, not an array"),
        ({"inputs": [tensor([1])], "id": [1]}, "id must be a string, not an array"),
        ({"inputs": [tensor([1])], "outputs": 1}, "outputs must be a list, not a number"),
        (
            {"inputs": [tensor([1])], "outputs": [{"name": "z"}]},
            "outputs[0]: no output is named 'z'; there are x",
        ),
    ],
)
def test_what_is_wrong_is_named(service: Service, body: Any, text: str) -> None:
    ((status, message),) = answered(service, asked(body))
    assert status == 400
    assert text in message


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [{"name": "a", "datatype": "x" * 100_000}]},
        {"inputs": [{"name": "a", "datatype": "FP32", "shape": [2] * 50_000 + ["x"]}]},
        {"inputs": [{"name": "a", "datatype": "FP32", "shape": [1] * 50_000, "data": [1, 2]}]},
        {"inputs": [tensor([1])], "outputs": [{"name": "z" * 100_000}]},
        {"inputs": [tensor([1], parameters={"binary_data_size": "z" * 100_000})]},
    ],
)
def test_an_error_repeats_little_of_what_the_client_sent(service: Service, body: Any) -> None:
    ((status, message),) = answered(service, asked(body))
    assert status == 400
    assert len(message) < 400


@pytest.mark.parametrize(
    ("length", "parameters", "text"),
    [
        ("x", {"binary_data_size": 4}, "must be a number of at most"),
        ("99999", {"binary_data_size": 4}, "must be a number of at most"),
        (None, {"binary_data_size": 8}, "binary_data_size is 8, and only 4 bytes are left"),
        (None, {"binary_data_size": "4"}, "must be a number of bytes, not '4'"),
        (None, {"binary_data_size": -1}, "must be a number of bytes, not -1"),
        (None, {"binary_data_size": 0}, "shape [1] does not fit 0 elements"),
    ],
)
def test_what_is_wrong_with_raw_tensors_is_named(
    service: Service, length: str | None, parameters: Any, text: str
) -> None:
    request = asked({"inputs": [tensor(..., shape=[1], parameters=parameters)]}, raw=b"\0\0\0\0")
    if length is not None:
        request.headers[LENGTH_HEADER.lower()] = length
    ((status, message),) = answered(service, request)
    assert status == 400
    assert text in message


def test_bytes_that_belong_to_nobody_are_refused(service: Service) -> None:
    ((status, message),) = answered(service, asked({"inputs": [tensor([1])]}, raw=b"abc"))
    assert (status, message) == (400, "3 bytes after the tensors belong to no input")


def test_raw_tensors_in_and_out(service: Service) -> None:
    numbers = np.arange(6, dtype="<f4").reshape(2, 3)
    text = struct.pack("<I", 3) + b"abc"
    body = {
        "parameters": {"binary_data_output": True},
        "inputs": [
            tensor(..., shape=[2, 3], parameters={"binary_data_size": 24}),
            tensor([7], name="j", datatype="INT32"),
            tensor(..., name="b", datatype="BYTES", shape=[1], parameters={"binary_data_size": 7}),
        ],
        "outputs": [{"name": "x"}, {"name": "j", "parameters": {"binary_data": False}}, {"name": "b"}],
    }
    (reply,) = service.predict([asked(body, raw=numbers.tobytes() + text)], Nobody())
    assert isinstance(reply, Reply), reply
    assert reply.content_type == "application/octet-stream"
    size = int(reply.headers[LENGTH_HEADER])
    outputs = json.loads(reply.body[:size])["outputs"]
    assert outputs == [
        {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
        {"name": "j", "datatype": "INT64", "shape": [1], "data": [7]},
        {"name": "b", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}},
    ]
    assert reply.body[size:] == numbers.tobytes() + text


def test_raw_tensors_may_come_to_the_handler_as_lists(service: Service) -> None:
    travel = {"binary_data_size": 8, "binary_data_as_lists": True}
    body = {
        "inputs": [
            tensor(..., "kind", shape=[2], parameters={"binary_data_size": 8}),
            tensor(..., "kind", shape=[2], parameters=travel),
        ]
    }
    (found,) = answered(service, asked(body, raw=bytes(16)))
    assert [output["data"] for output in found["outputs"]] == [["Array"], ["list"]]


def test_only_the_outputs_that_are_wanted(service: Service) -> None:
    body = {"inputs": [tensor([1]), tensor([2], name="y")], "outputs": [{"name": "y"}]}
    (found,) = answered(service, asked(body))
    assert [output["name"] for output in found["outputs"]] == ["y"]


@pytest.mark.parametrize(
    ("own", "of_all", "target"), [({"target": 3}, {"target": 4}, 3), ({}, {"target": 4}, 4)]
)
def test_a_target_comes_as_parameter(service: Service, own: Any, of_all: Any, target: int) -> None:
    body = {"inputs": [tensor([1], name="target", parameters=own)], "parameters": of_all}
    (found,) = answered(service, asked(body))
    assert found["outputs"][0]["data"] == [target]


@pytest.mark.parametrize(
    ("shape", "data", "seen"),
    [
        ([-1], ["one"], "one"),
        ([1, 28, 28], ["one"], "one"),
        ([], ["one"], "one"),
        ([3], ["o", "n", "e"], "one"),
        ([2, 1], [["a a"], ["b b"]], ["a a", "b b"]),
    ],
)
def test_texts_as_the_handler_sees_them(service: Service, shape: Any, data: Any, seen: Any) -> None:
    (found,) = answered(service, asked({"inputs": [tensor(data, datatype="BYTES", shape=shape)]}))
    assert found["outputs"][0]["data"] == (seen if isinstance(seen, list) else [seen])


@pytest.mark.parametrize("service", [{"v2BatchDim": True}], indirect=True)
def test_a_batch_tensor_is_split_and_put_together_again(service: Service) -> None:
    body = {
        "inputs": [
            tensor([[1, 2], [3, 4], [5, 6]], shape=[3, 2]),
            tensor(["a", "b"], "t", "BYTES"),
            tensor([["a", "b", "c"], ["d", "e", "f"]], "u", "BYTES", shape=[-1, 3]),
            tensor([[1.0]] * 2, "shape", shape=[2, 1]),
            tensor([], "none", shape=[0, 2]),
        ]
    }
    (found,) = answered(service, asked(body))
    assert [(output["shape"], output["data"]) for output in found["outputs"]] == [
        ([3, 2], [1, 2, 3, 4, 5, 6]),
        ([2], ["a", "b"]),
        ([2, 3], ["a", "b", "c", "d", "e", "f"]),
        ([2, 1], [1, 1]),
        ([0], []),
    ]
    ((status, message),) = answered(service, asked({"inputs": [tensor([1], shape=[])]}))
    assert status == 400
    assert "the first dimension counts the instances" in message
    ((status, message),) = answered(service, asked({"inputs": [tensor([], shape=[10**12, 0])]}))
    assert (status, message) == (
        400,
        "inputs[0] (x): shape [1000000000000, 0] is too large for a tensor without elements",
    )
    ((status, message),) = answered(service, asked({"inputs": [tensor(["a"], datatype="BYTES", shape=[2])]}))
    assert (status, message) == (400, "inputs[0] (x): shape [2] does not fit 1 elements")


def test_a_result_without_a_form_fails_alone(service: Service) -> None:
    bad, good = answered(
        service, asked({"inputs": [tensor([1], "bad")]}), asked({"inputs": [tensor([1])]}, 1)
    )
    assert bad[0] == 500
    assert "has no form in this protocol" in bad[1]
    assert good["outputs"][0]["data"] == [1]


def test_a_fault_of_the_handler_is_500_here(service: Service) -> None:
    body = {"inputs": [tensor([1], "target")]}
    (found,) = service.predict([asked(body)], Nobody())
    assert isinstance(found, Failure)
    assert (found.status, found.message) == (500, "Prediction failed")
    assert str(found.cause).startswith("KeyError: 'target' (h.py, line ")
