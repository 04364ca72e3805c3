"""The oldest built-in handler: tensors in files."""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.testing import Request, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}
NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return x.flatten(1) * self.factor
"""


def written(value: Any) -> bytes:
    target = io.BytesIO()
    torch.save(value, target)
    return target.getvalue()


def asked(folder: Path, requests: list[Request], **more: Any) -> list[Any]:
    return run_handler("densenet_handler", requests, model=MODEL, model_dir=folder, **more)


def read(answer: Any) -> torch.Tensor:
    assert isinstance(answer, Reply), answer
    found: torch.Tensor = torch.load(io.BytesIO(answer.body), weights_only=True)
    return found


def test_each_tensor_is_answered_with_one(net_dir: Callable[[str], Path]) -> None:
    text = base64.b64encode(written(torch.tensor([5.0, 6.0]))).decode()
    requests: list[Request] = [
        written(torch.tensor([1.0, 2.0])),
        {"data": written(torch.tensor([[3.0, 4.0]]))},
        {"data": (text, "text/plain")},
    ]
    answers = asked(net_dir(NET), requests)
    assert [read(answer).tolist() for answer in answers] == [[[2, 4]], [[6, 8]], [[10, 12]]]


def test_an_answer_holds_its_own_numbers_only(net_dir: Callable[[str], Path]) -> None:
    folder = net_dir(NET)
    (alone,) = asked(folder, [written(torch.zeros(1000))])
    answers = asked(folder, [written(torch.zeros(1000))] * 8)
    assert {len(answer.body) for answer in answers} == {len(alone.body)}


class Mischief:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"abc", "no tensor that torch.save wrote (3 bytes)"),
        (b"", "no tensor that torch.save wrote (0 bytes)"),
        (written({"a": 1}), "the file holds a dict, not a tensor"),
        (pickle.dumps(Mischief()), "no tensor that torch.save wrote"),
        ({"other": b"x"}, "a request needs a parameter 'data' or a body"),
    ],
)
def test_what_is_no_tensor_fails_alone(
    net_dir: Callable[[str], Path], capsys: pytest.CaptureFixture[str], bad: Request, cause: str
) -> None:
    good, failure = asked(net_dir(NET), [written(torch.ones(2)), bad])
    assert read(good).tolist() == [[2, 2]]
    assert isinstance(failure, Failure)
    assert cause in str(failure.cause)
    assert capsys.readouterr().out != "run\n"


def test_it_does_not_explain(net_dir: Callable[[str], Path]) -> None:
    (answer,) = asked(net_dir(NET), [written(torch.ones(2))], kind=Kind.EXPLAIN)
    assert isinstance(answer, Failure)
    assert answer.status == 501
