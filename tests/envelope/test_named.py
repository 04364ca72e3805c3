"""Whole requests of KServe v2: a row has a request's tensors by name, the answer those of the result."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from torchkeeper.envelope.named import NamedTensorsEnvelope
from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.ports import NamedTensors
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.messages import Signature, TensorSpec

ONES: dict[str, Any] = {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 1]}


def context(count: int, signature: Signature | None = None) -> Context:
    made = Context(
        "net", "/", {"model": {"modelVersion": "3"}}, count, None, "0.12.0", metrics=Recorder("net")
    )
    made.request_processor = [RequestProcessor({}) for _ in range(count)]
    made.request_ids = {place: f"id-{place}" for place in range(count)}
    made.signature = signature
    return made


def answers(requests: list[Any], handle: Any, signature: Signature | None = None) -> list[Any]:
    rows = [{"body": json.dumps(request).encode()} for request in requests]
    return list(NamedTensorsEnvelope(handle).handle(rows, context(len(rows), signature)))


def test_a_row_is_a_request_and_its_arrays_have_their_datatypes() -> None:
    seen: list[NamedTensors] = []

    def handle(data: Any, context: Any) -> Any:
        seen.extend(data)
        return [{"sum": np.float32(row["a"].sum()), "same": row["a"]} for row in data]

    texts = {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    requests = [{"inputs": [ONES, texts]}, {"inputs": [ONES], "outputs": [{"name": "same"}]}]
    found = answers(requests, handle, Signature((), (TensorSpec("sum"), TensorSpec("same"))))
    assert [list(row) for row in seen] == [["a", "t"], ["a"]]
    assert seen[0]["a"].dtype == np.float32
    assert seen[0].datatypes == {"a": "FP32", "t": "BYTES"}
    first, second = map(json.loads, found)
    assert (first["id"], first["model_name"], first["model_version"]) == ("id-0", "net", "3")
    assert first["outputs"] == [
        {"name": "sum", "datatype": "FP32", "shape": [1], "data": [2.0]},
        {"name": "same", "datatype": "FP32", "shape": [2], "data": [1.0, 1.0]},
    ]
    assert [output["name"] for output in second["outputs"]] == ["same"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"inputs": [ONES, ONES]}, "two inputs are named 'a'"),
        ({"inputs": [{**ONES, "shape": [3]}]}, r"inputs[0] (a): shape [3] does not fit 2 elements"),
        ({"inputs": [ONES], "outputs": [{"name": "b"}]}, "no output is named 'b'; there are y"),
        ({"inputs": ["a"]}, "inputs[0]: an input must be an object"),
        ({}, 'the body must have "inputs"'),
    ],
)
def test_a_request_that_cannot_be_read_fails_alone(request_: Any, text: str) -> None:
    signature = Signature((), (TensorSpec("y"),))
    wrong, right = answers(
        [request_, {"inputs": [ONES]}], lambda data, context: [{"y": row["a"]} for row in data], signature
    )
    assert isinstance(wrong, PredictionException)
    assert wrong.error_code == 400
    assert text in wrong.message
    assert json.loads(right)["outputs"][0]["name"] == "y"


def test_a_failure_in_a_results_place_is_that_requests_answer() -> None:
    (found,) = answers([{"inputs": [ONES]}], lambda data, context: [PredictionException("no", 507)])
    assert (found.message, found.error_code) == ("no", 507)
