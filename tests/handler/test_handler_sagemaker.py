"""SageMaker's inference scripts: what their functions are called with, and what stands in for others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchkeeper.handler.sagemaker import SageMakerHandler
from torchkeeper.testing import MockContext, run_handler
from torchkeeper.wire.messages import Failure, Reply

JSON = {"Content-Type": "application/json"}
WHOLE = """
import json

def model_fn(model_dir):
    with open(model_dir + "/weights.txt") as file:
        return int(file.read())

def input_fn(body, content_type):
    assert isinstance(body, str)
    return json.loads(body)

def predict_fn(data, model):
    if data == "bad":
        raise RuntimeError("cannot be computed")
    return model * data

def output_fn(prediction, accept):
    return json.dumps({"answer": prediction, "accept": accept})
"""


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Scripts of other tests have the same name."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("inference", "entry"):
        sys.modules.pop(name, None)


def script(folder: Path, source: str, name: str = "code/inference.py") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    (folder / "weights.txt").write_text("2")
    return folder


def answers(folder: Path, *bodies: bytes, **headers: str) -> list[Reply | Failure]:
    given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    how: dict[str, Any] = {"model_dir": str(folder), "decode_input_request": False}
    return run_handler("sagemaker", list(bodies), headers=given, **how)


def test_all_functions_of_a_script(tmp_path: Path) -> None:
    (reply,) = answers(script(tmp_path, WHOLE), b"21")
    assert isinstance(reply, Reply)
    assert json.loads(reply.body) == {"answer": 42, "accept": "application/json"}
    assert reply.content_type == "application/json"


def test_one_bad_request_fails_alone(tmp_path: Path) -> None:
    good, bad, unread, last = answers(script(tmp_path, WHOLE), b"1", b'"bad"', b"\xff", b"3")
    assert [json.loads(each.body)["answer"] for each in (good, last) if isinstance(each, Reply)] == [2, 6]
    assert isinstance(bad, Failure)
    assert (bad.status, bad.message) == (500, "RuntimeError: cannot be computed")
    assert isinstance(unread, Failure)
    assert (unread.status, unread.message) == (400, "The body is no UTF-8, which application/json must be.")


CONTEXT = """
def pre_model_fn(model_dir, context):
    context.noted = ["before"]

def model_fn(model_dir, context):
    context.noted.append("model of " + context.model_name)
    return context.noted

def model_warmup_fn(model_dir, model, context):
    model.append("warm")

def transform_fn(model, body, content_type, accept, context):
    if body == "stop":
        context.set_response_status(code=418, phrase="A teapot")
    tag = context.request_processor[0].get_request_properties().get("X-Tag")
    context.set_response_header(0, "X-Seen", body)
    return ",".join([*model, tag, body]), "text/plain"
"""


def test_a_function_that_takes_one_argument_more_gets_its_requests_context(
    tmp_path: Path,
) -> None:
    first, second = answers(script(tmp_path, CONTEXT), b"one", b"stop", X_Tag="t", Content_Type="text/csv")
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert first.body == b"before,model of model,warm,t,one"
    assert (first.status, second.status, second.phrase) == (200, 418, "A teapot")
    assert (first.headers, second.headers) == ({"X-Seen": "one"}, {"X-Seen": "stop"})
    assert first.content_type == "text/plain"


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.mark.parametrize("name", ["model.pt", "net.pth"])
def test_without_a_script_torchscript_and_arrays(tmp_path: Path, name: str) -> None:
    torch.jit.script(Double()).save(str(tmp_path / name))  # type: ignore[no-untyped-call]  # untyped in torch
    as_json, as_csv = (answers(tmp_path, b"[[1, 2.5]]", Accept=accept)[0] for accept in ("*/*", "text/csv"))
    assert isinstance(as_json, Reply)
    assert isinstance(as_csv, Reply)
    assert (json.loads(as_json.body), as_json.content_type) == ([[2.0, 5.0]], "application/json")
    assert (as_csv.body, as_csv.content_type) == (b"2.0,5.0\n", "text/csv")
    (number,) = answers(tmp_path, b"7")
    assert isinstance(number, Reply)
    assert json.loads(number.body) == 14.0
    (unknown,) = answers(tmp_path, b"x", Content_Type="image/png")
    assert isinstance(unknown, Failure)
    assert unknown.status == 415
    (wrong,) = answers(tmp_path, b"{")
    assert isinstance(wrong, Failure)
    assert (wrong.status, wrong.message[:41]) == (400, "The body is no array as application/json:")


def test_npy_both_ways(tmp_path: Path) -> None:
    torch.jit.script(Double()).save(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]  # as above
    kind = "application/x-npy"
    np.save(tmp_path / "array.npy", np.ones((2, 3), np.float32))
    (reply,) = answers(tmp_path, (tmp_path / "array.npy").read_bytes(), Content_Type=kind, Accept=kind)
    assert isinstance(reply, Reply)
    (tmp_path / "array.npy").write_bytes(reply.body)
    assert np.load(tmp_path / "array.npy").tolist() == [[2.0] * 3] * 2


def test_the_script_and_the_form_of_answers_have_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "entry.py")
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    (reply,) = answers(script(tmp_path, WHOLE, "code/entry.py"), b"1")
    assert isinstance(reply, Reply)
    assert json.loads(reply.body)["accept"] == "text/csv"
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "gone.py")
    with pytest.raises(FileNotFoundError, match=r"SAGEMAKER_PROGRAM=gone\.py: there is no such file"):
        answers(tmp_path, b"1")


def initialised(folder: Path) -> Any:
    handler = SageMakerHandler()
    handler.initialize(MockContext(model_dir=str(folder)))
    return handler


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "def transform_fn(m, b, c, a): pass\ndef predict_fn(d, m): pass\n",
            "defines transform_fn and predict_fn",
        ),
        ("", "must have model.pt or exactly one .pt or .pth file"),
        ("def model_fn(): pass\n", "model_fn takes 0 arguments, it must take 1, or the context too"),
    ],
)
def test_what_cannot_be_served_says_why(tmp_path: Path, source: str, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        initialised(script(tmp_path, source))
