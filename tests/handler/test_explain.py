"""Explanations equal Captum's own; targets of every form; and what is said when there can be none."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients

from exports import pixels_program, saved
from torchkeeper.handler.errors import PredictionException, UnreadableRows
from torchkeeper.handler.explain import LazyIntegratedGradients, batch_target, in_range
from torchkeeper.handler.transforms import ToTensor
from torchkeeper.handler.vision import VisionHandler
from torchkeeper.handler.weights import load_eager
from torchkeeper.testing import MockContext, Request, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}

OWN_INSIGHTS = """
from ts.torch_handler.image_classifier import ImageClassifier
from torchkeeper.handler.transforms import ToTensor


class Own(ImageClassifier):
    image_processing = ToTensor()

    def get_insights(self, tensor_data, inputs, target=0):
        return [{"shape": list(tensor_data.shape), "inputs": len(inputs), "target": target}]
"""

OWN_HANDLE = """
from ts.torch_handler.image_classifier import ImageClassifier
from torchkeeper.handler.transforms import ToTensor


class Own(ImageClassifier):
    image_processing = ToTensor()

    def handle(self, data, context):
        return self.explain_handle(self.preprocess(data), data)
"""


class Digits(VisionHandler):
    image_processing = ToTensor()


def captum_directly(context: MockContext, pictures: list[bytes], targets: list[int]) -> torch.Tensor:
    """Each picture by itself, through a model of our own making."""
    folder = Path(context.system_properties["model_dir"])
    method = IntegratedGradients(
        load_eager(folder / "net.py", folder / "net.pth", torch.device("cpu")).eval()
    )
    handler = Digits()
    handler.initialize(context)
    results = [
        method.attribute(handler.preprocess([picture]), target=target, n_steps=15)
        for picture, target in zip(pictures, targets, strict=True)
    ]
    return torch.cat(results).to(torch.float32)


def explained(answers: list[Any]) -> torch.Tensor:
    assert all(isinstance(answer, Reply) for answer in answers), answers
    return torch.tensor([json.loads(answer.body) for answer in answers])


@pytest.mark.parametrize("target", [None, b"0", b"3"])
def test_one_picture_equals_captum_called_directly(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes], target: bytes | None
) -> None:
    row: Request = {"data": png(5)} if target is None else {"data": png(5), "target": target}
    answers = run_handler(model_dir / "handler.py", [row], kind=Kind.EXPLAIN, model=MODEL)
    expected = captum_directly(context, [png(5)], [int(target or 0)])
    torch.testing.assert_close(explained(answers), expected, rtol=0, atol=1e-5)
    assert expected.abs().max() > 1e-3


def test_each_row_of_a_batch_is_explained_for_its_own_target(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes]
) -> None:
    pictures, targets = [png(1), png(2), png(3)], [2, 0, 3]
    rows: list[Request] = [
        {"data": pictures[0], "target": b"2"},
        {"body": pictures[1]},
        {"data": pictures[2], "target": ("3", "text/plain")},
    ]
    answers = run_handler(model_dir / "handler.py", rows, kind=Kind.EXPLAIN, model=MODEL)
    expected = captum_directly(context, pictures, targets)
    torch.testing.assert_close(explained(answers), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("envelope", ["body", None])
def test_json_with_data_and_target_and_raw_pictures_side_by_side(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes], envelope: str | None
) -> None:
    text = json.dumps({"data": base64.b64encode(png(1)).decode(), "target": 2})
    rows: list[Request] = [{"body": (text, "application/json")}, png(2)]
    answers = run_handler(model_dir / "handler.py", rows, kind=Kind.EXPLAIN, model=MODEL, envelope=envelope)
    expected = captum_directly(context, [png(1), png(2)], [2, 0])
    torch.testing.assert_close(explained(answers), expected, rtol=0, atol=1e-5)


def test_a_handlers_own_insights_are_honoured(model_dir: Path, png: Callable[[int], bytes]) -> None:
    (model_dir / "own.py").write_text(OWN_INSIGHTS)
    row: Request = {"data": png(1), "target": b"1"}
    (answer,) = run_handler(model_dir / "own.py", [row], kind=Kind.EXPLAIN, model=MODEL)
    assert isinstance(answer, Reply)
    assert json.loads(answer.body) == {"shape": [1, 1, 8, 8], "inputs": len(png(1)), "target": 1}


def test_a_handler_with_its_own_handle_may_explain(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes]
) -> None:
    (model_dir / "own.py").write_text(OWN_HANDLE)
    answers = run_handler(model_dir / "own.py", [{"data": png(1), "target": b"1"}], model=MODEL)
    expected = captum_directly(context, [png(1)], [1])
    torch.testing.assert_close(explained(answers), expected, rtol=0, atol=1e-5)


def test_without_captum_predictions_work_and_explanations_name_the_extra(
    model_dir: Path, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)  # what an absent package looks like to importlib
    (answer,) = run_handler(model_dir / "handler.py", [png(1)], model=MODEL)
    assert isinstance(answer, Reply)
    (answer,) = run_handler(model_dir / "handler.py", [png(1)], kind=Kind.EXPLAIN, model=MODEL)
    assert isinstance(answer, Failure)
    assert answer.status == 501
    assert "pip install torchkeeper[explain]" in answer.message


def test_torchscript_is_explained_as_its_eager_model(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes]
) -> None:
    rows: list[Request] = [{"data": png(1), "target": b"2"}, png(2)]
    answers = run_handler(
        model_dir / "handler.py", rows, kind=Kind.EXPLAIN, model={"serializedFile": "script.pt"}
    )
    expected = captum_directly(context, [png(1), png(2)], [2, 0])
    torch.testing.assert_close(explained(answers), expected, rtol=0, atol=1e-5)


def test_a_model_without_gradients_is_refused_clearly(model_dir: Path, png: Callable[[int], bytes]) -> None:
    saved(pixels_program(), model_dir / "net.pt2")
    (answer,) = run_handler(
        model_dir / "handler.py", [png(1)], kind=Kind.EXPLAIN, model={"serializedFile": "net.pt2"}
    )
    assert isinstance(answer, Failure)
    assert answer.status == 501
    assert "need an eager model, this archive holds a compiled form" in answer.message


def test_a_target_that_is_no_number_is_named(model_dir: Path, png: Callable[[int], bytes]) -> None:
    row: Request = {"data": png(1), "target": b"seven"}
    (answer,) = run_handler(model_dir / "handler.py", [row], kind=Kind.EXPLAIN, model=MODEL)
    assert isinstance(answer, Failure)
    assert "target must be the number of a class, not 'seven'" in str(answer.cause)


def test_initialize_sets_ig_for_models_with_gradients(context: MockContext, model_dir: Path) -> None:
    eager, script, program = Digits(), Digits(), Digits()
    eager.initialize(context)
    assert eager.ig.has_convergence_delta() is True
    script.initialize(MockContext("script.pt", model_dir, None, gpu_id=None))
    assert script.ig.has_convergence_delta() is True
    saved(pixels_program(), model_dir / "net.pt2")
    program.initialize(MockContext("net.pt2", model_dir, None, gpu_id=None))
    assert not hasattr(program, "ig")


def test_the_stand_in_answers_dunder_questions_itself() -> None:
    assert not hasattr(LazyIntegratedGradients(torch.nn.Identity()), "__no_such_protocol__")


def test_targets_of_a_batch() -> None:
    assert batch_target([{"target": 2}], None) == 2
    assert batch_target([{"target": [1, 2]}], None) == (1, 2)
    assert batch_target([{"target": 2}, {}], None).tolist() == [2, 0]
    assert batch_target([{"target": [1, 2]}, {"target": [3, 4]}], None) == [(1, 2), (3, 4)]
    with pytest.raises(ValueError, match="must all be numbers"):
        batch_target([{"target": [1, 2]}, {"target": 3}], None)


def test_a_target_out_of_range_is_refused_with_the_range_and_the_others_are_explained(
    context: MockContext, model_dir: Path, png: Callable[[int], bytes]
) -> None:
    targets = [b"4", b"3", b"-1", b"-5", b"9" * 15]
    rows: list[Request] = [{"data": png(1), "target": target} for target in targets]
    first, last, from_the_end, below, huge = run_handler(
        model_dir / "handler.py", rows, kind=Kind.EXPLAIN, model=MODEL
    )
    for target, answer in ((b"4", first), (b"-5", below), (b"9" * 15, huge)):
        assert isinstance(answer, Failure)
        text = f"target {target.decode()} is out of range: the model's classes are 0 to 3"
        assert (answer.status, answer.message) == (400, text)
    expected = captum_directly(context, [png(1)], [3])
    torch.testing.assert_close(explained([last]), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(explained([from_the_end]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "shape", "expected"),
    [
        (2, (1, 3), 2),
        (-1, (2, 3), 2),
        ((1, -2), (1, 3, 4), (1, 2)),
        ((1,), (1, 3, 4), (1,)),
        ([(0, 1), (2, 3)], (2, 3, 4), [(0, 1), (2, 3)]),
        ([0, -1], (2, 3), [0, 2]),
    ],
)
def test_targets_in_range_are_counted_from_0(target: Any, shape: tuple[int, ...], expected: Any) -> None:
    assert in_range(target, torch.zeros(shape)) == expected


@pytest.mark.parametrize(
    ("target", "shape", "wrong"),
    [
        (3, (2, 3), [0, 1]),
        ([0, 3], (2, 3), [1]),
        ((1, 4), (1, 3, 4), [0]),
        ((1, 1), (1, 3), [0]),
        ([(0, 1), (9, 1)], (2, 3, 4), [1]),
    ],
)
def test_targets_out_of_range_are_their_rows_own(target: Any, shape: tuple[int, ...], wrong: Any) -> None:
    with pytest.raises(UnreadableRows, match="out of range: the model's classes are 0 to 2") as caught:
        in_range(target, torch.zeros(shape))
    assert list(caught.value.rows) == wrong


def test_what_a_model_keeps_of_its_first_batch_can_be_explained(context: MockContext) -> None:
    class Keeping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 4))
            self.kept: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.kept is None:
                self.kept = torch.arange(1.0, 4.0)
            return (x.mean((2, 3)) * self.kept) @ self.weight

    handler = Digits()
    handler.initialize(context)
    handler.model = Keeping()
    handler.ig = LazyIntegratedGradients(handler.model)
    (found,) = handler.get_insights(torch.ones(1, 3, 2, 2), None, 1)
    torch.testing.assert_close(torch.tensor(found).sum((1, 2)), torch.tensor([1.0, 2.0, 3.0]))


def test_targets_of_a_tensor_stay_one() -> None:
    assert in_range(torch.tensor([1, -1]), torch.zeros(2, 3)).tolist() == [1, 2]
    assert in_range(torch.tensor(-1), torch.zeros(2, 3)).item() == 2
    with pytest.raises(UnreadableRows):
        in_range(torch.tensor([1, 3]), torch.zeros(2, 3))


@pytest.mark.parametrize(("output", "text"), [(torch.zeros(3), r"shape \(3,\)"), ([{"boxes": 1}], "list")])
def test_a_model_without_classes_is_not_explained(output: Any, text: str) -> None:
    with pytest.raises(PredictionException, match=rf"one tensor \(N, classes\): {text}") as caught:
        in_range(0, output)
    assert caught.value.error_code == 501


def test_a_target_beyond_what_a_tensor_counts_is_refused_alone(
    model_dir: Path, png: Callable[[int], bytes]
) -> None:
    rows: list[Request] = [{"data": png(1), "target": b"9" * 30}, {"data": png(1), "target": b"3"}]
    huge, fine = run_handler(model_dir / "handler.py", rows, kind=Kind.EXPLAIN, model=MODEL)
    assert isinstance(huge, Failure)
    assert (huge.status, "is out of range" in huge.message) == (400, True)
    assert isinstance(fine, Reply)
