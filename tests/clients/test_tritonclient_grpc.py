"""Triton's own client over gRPC against a real server: digits in every form, errors as users know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asked import IDLE, ask, digits  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow
ERROR = "tritonclient.utils.InferenceServerException"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with digits(tmp_path_factory.mktemp("mnist")) as server:
        yield ask("tritonclient", "ask_tritonclient_grpc.py", server)


@pytest.mark.parametrize("form", ["numbers", "picture", "FP16", "BF16", "one of two", "a version", "gzip"])
def test_digits(told: Any, form: str) -> None:
    assert told["forms"][form] == [
        {"id": "asked", "name": "x", "datatype": "INT64", "shape": [1], "digit": [digit]}
        for digit in range(10)
    ]


def test_readiness(told: Any) -> None:
    assert (told["live"], told["server ready"], told["ready"]) == (True, True, [True, True])
    assert told["idle is ready"] is False


def test_metadata(told: Any) -> None:
    assert told["server"]["name"] == "Torchserve"
    assert "binary_tensor_data" in told["server"]["extensions"]
    assert told["model"] == {
        "name": "mnist",
        "versions": ["1.0"],
        "platform": "pytorch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["1", "28", "28"]}],
        "outputs": [{"name": "x", "datatype": "INT64", "shape": ["1"]}],
    }


@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("readiness of unknown", "NOT_FOUND", "Model not found: unknown"),
        ("unknown", "NOT_FOUND", "Model not found: unknown"),
        ("unknown version", "NOT_FOUND", "Model version: 9 does not exist for model: mnist"),
        ("unknown model's metadata", "NOT_FOUND", "Model not found: unknown"),
        ("idle", "UNAVAILABLE", IDLE),
        ("wrong shape", "INVALID_ARGUMENT", "inputs[0] (x)"),
        ("unknown output", "INVALID_ARGUMENT", "no output is named 'nothing'; there are x"),
        ("Triton's configuration", "UNIMPLEMENTED", ""),
    ],
)
def test_errors(told: Any, what: str, status: str, text: str) -> None:
    found = told[what]
    assert (ERROR in found["classes"], found["status"]) == (True, f"StatusCode.{status}"), found
    assert text in found["text"]
