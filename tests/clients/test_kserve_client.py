"""KServe's own SDK against a real server: every digit in every form, and errors as its users know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asked import ask, digits  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow
HTTP_ERROR, RPC_ERROR = "httpx.HTTPStatusError", "grpc.RpcError"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with digits(tmp_path_factory.mktemp("mnist")) as server:
        yield ask("kserve", "ask_kserve.py", server)


def refused(found: Any, status: int | str, text: str) -> None:
    """The client's own exception, with the server's status and words."""
    error = RPC_ERROR if isinstance(status, str) else HTTP_ERROR
    assert (error in found["classes"], found["status"]) == (True, status), found
    assert text in found["text"]


def test_the_first_version(told: Any) -> None:
    found = told["v1"]
    assert (found["live"], found["ready"], found["idle is ready"]) == (True, True, False)
    assert found["one by one"] == [[digit] for digit in range(10)]
    assert found["together"] == list(range(10))
    assert found["shape of the explanations"] == [1, 1, 28, 28]


def test_errors_of_the_first_version(told: Any) -> None:
    found = told["v1"]
    refused(found["unknown"], 404, "Model not found: unknown")
    refused(found["readiness of unknown"], 404, "Model not found: unknown")
    refused(found["idle"], 503, "idle")
    refused(found["no list"], 400, "with a list of instances, and has a number there")


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("numbers in JSON", "application/json"),
        ("numbers raw", "application/json"),
        ("picture in JSON", "application/json"),
        ("picture raw", "application/json"),
        ("raw answer", "application/octet-stream"),
        ("named output", "application/octet-stream"),
    ],
)
def test_the_second_version(told: Any, form: str, content_type: str) -> None:
    assert told["v2"]["forms"][form] == [
        {
            "id": "asked",
            "model": "mnist",
            "name": "input-0",
            "datatype": "INT64",
            "shape": [1],
            "digit": [digit],
            "content type": content_type,
        }
        for digit in range(10)
    ]


def test_readiness_in_the_second_version(told: Any) -> None:
    found = told["v2"]
    assert (found["live"], found["server ready"]) == (True, True)
    assert (found["ready"], found["idle is ready"], found["unknown is ready"]) == (True, False, False)


def test_errors_of_the_second_version(told: Any) -> None:
    found = told["v2"]
    refused(found["unknown"], 404, "Model not found: unknown")
    refused(found["idle"], 503, "idle")
    refused(found["wrong shape"], 400, "inputs[0] (input-0)")


@pytest.mark.parametrize(
    ("form", "raw"),
    [("numbers typed", False), ("numbers raw", True), ("picture typed", False), ("picture raw", True)],
)
def test_grpc(told: Any, form: str, raw: bool) -> None:
    assert told["gRPC"]["forms"][form] == [
        {
            "id": "asked",
            "model": "mnist",
            "name": "input-0",
            "datatype": "INT64",
            "shape": [1],
            "digit": [digit],
            "raw": raw,
        }
        for digit in range(10)
    ]


def test_readiness_by_grpc(told: Any) -> None:
    found = told["gRPC"]
    assert (found["live"], found["server ready"]) == (True, True)
    assert (found["ready"], found["idle is ready"]) == (True, False)


def test_errors_by_grpc(told: Any) -> None:
    found = told["gRPC"]
    refused(found["readiness of unknown"], "NOT_FOUND", "Model not found: unknown")
    refused(found["unknown"], "NOT_FOUND", "Model not found: unknown")
    refused(found["idle"], "UNAVAILABLE", "idle")
    refused(found["wrong shape"], "INVALID_ARGUMENT", "inputs[0] (input-0)")
