"""Triton's own client against a real server: every digit in every form, and errors as its users know them."""

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
        yield ask("tritonclient", "ask_tritonclient.py", server)


def refused(found: Any, status: str, text: str) -> None:
    """The client's own exception, with the server's status and words."""
    assert (ERROR in found["classes"], found["status"]) == (True, status), found
    assert text in found["text"]


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ("numbers in JSON", False),
        ("numbers in JSON, raw answer", True),
        ("numbers raw", True),
        ("numbers raw, answer in JSON", False),
        ("picture in JSON", False),
        ("picture raw", True),
        ("FP16", True),
        ("BF16", True),
        ("one of two", True),
        ("a version", True),
        ("gzip both ways", True),
        ("deflate both ways", True),
        ("gzip both ways, raw", True),
    ],
)
def test_digits(told: Any, form: str, raw: bool) -> None:
    assert told["forms"][form] == [
        {"id": "asked", "name": "x", "datatype": "INT64", "shape": [1], "raw": raw, "digit": [digit]}
        for digit in range(10)
    ]


def test_an_answer_that_is_long_enough_to_be_packed(told: Any) -> None:
    assert told["explanation"] == ["gzip", 1, 28, 28]


def test_readiness(told: Any) -> None:
    assert (told["live"], told["server ready"], told["ready"]) == (True, True, [True, True])
    assert (told["others are ready"], told["another version is ready"]) == ([False, False], False)


def test_metadata(told: Any) -> None:
    assert told["server"]["name"] == "Torchserve"
    assert {"binary_tensor_data", "model_repository"} <= set(told["server"]["extensions"])
    assert told["model"] == told["model of that version"]
    assert (told["model"]["name"], told["model"]["versions"]) == ("mnist", ["1.0"])


@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("unknown", "404", "Model not found: unknown"),
        ("unknown version", "404", "Model version: 9 does not exist for model: mnist"),
        ("unknown model's metadata", "404", "Model not found: unknown"),
        ("idle", "503", IDLE),
        ("wrong shape", "400", "inputs[0] (x)"),
        ("unknown output", "400", "no output is named 'nothing'; there are x"),
        ("Triton's configuration", "404", "Requested resource is not found"),
        ("load by the inference API", "404", "Requested resource is not found"),
    ],
)
def test_errors(told: Any, what: str, status: str, text: str) -> None:
    refused(told[what], status, text)


def test_the_repository(told: Any) -> None:
    unloaded, loaded = told["repository"]["unloaded"], told["repository"]["loaded"]
    assert unloaded["index"] == {"mnist_explain": "READY", IDLE: "UNAVAILABLE"}
    assert unloaded["ready"] is False
    refused(unloaded["infer"], "404", "Model not found: mnist")
    assert loaded["index"] == unloaded["index"] | {"mnist": "READY"}
    assert (loaded["ready"], loaded["infer"]["digit"]) == (True, [1])
    refused(told["repository"]["unknown"], "404", "Model not found: unknown")
