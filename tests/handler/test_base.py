"""BaseHandler: what it loads, the order of its steps, describe and the time it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.errors import PredictionException
from torchkeeper.testing import MockContext, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply


class Steps(BaseHandler):
    """Records the order of its steps; needs no model."""

    def initialize(self, context: Context) -> None:
        self.steps: list[str] = []

    def preprocess(self, data: Any) -> Any:
        self.steps.append("preprocess")
        return data

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        self.steps.append("inference")
        return data

    def postprocess(self, data: Any) -> Any:
        self.steps.append("postprocess")
        return data

    def get_insights(self, data: Any, inputs: Any, target: Any) -> Any:
        self.steps.append("insights")
        return [(inputs, target)]

    def describe_handle(self) -> Any:
        return {"steps": 4}


def handled(rows: list[Any], **headers: str) -> tuple[list[str], Any, Context]:
    handler, context = Steps(), MockContext(None, "/", None)
    context.request_processor = [RequestProcessor(headers) for _ in rows]
    handler.initialize(context)
    output = handler.handle(rows, context)
    return handler.steps, output, context


def test_a_prediction_takes_three_steps_and_its_time_is_recorded() -> None:
    steps, output, context = handled([{"data": 1}])
    assert steps == ["preprocess", "inference", "postprocess"]
    assert output == [{"data": 1}]
    (sample,) = context.metrics.drain()
    assert (sample.name, sample.unit, sample.type) == ("HandlerTime", "Milliseconds", "GAUGE")
    assert sample.value >= 0
    assert sample.dimensions == (("ModelName", "mnist"), ("Level", "Model"))
    assert sample.request_id == context.get_request_id()


def test_an_explanation_skips_inference() -> None:
    steps, output, _ = handled([{"data": 1, "target": b"3"}], explain="True")
    assert steps == ["preprocess", "insights"]
    assert output == [(1, 3)]


def test_a_description_takes_no_step_and_answers_each_row() -> None:
    steps, output, _ = handled([{}, {}], describe="True")
    assert steps == []
    assert output == [{"steps": 4}] * 2


@pytest.mark.parametrize(
    "model", [{"modelFile": "net.py", "serializedFile": "net.pth"}, {"serializedFile": "script.pt"}]
)
def test_both_kinds_of_model_answer_alike(model_dir: Path, model: dict[str, str]) -> None:
    pixels = torch.arange(128.0).reshape(2, 1, 8, 8) / 128
    handler = BaseHandler()
    context = MockContext(model["serializedFile"], model_dir, model.get("modelFile"), gpu_id=None)
    handler.initialize(context)
    assert handler.initialized
    assert not handler.model.training
    assert handler.get_device() == torch.device("cpu")
    assert handler.map_location == "cpu"
    output = handler.handle(pixels.tolist(), context)
    expected = torch.jit.load(model_dir / "script.pt")(pixels)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(torch.tensor(output), expected)


def test_the_built_in_base_handler_is_found_by_name(model_dir: Path) -> None:
    """Its rows must be numbers, so this one fails in the batch and not while loading."""
    (answer,) = run_handler(
        "base_handler", [b"1"], model_dir=model_dir, model={"serializedFile": "script.pt"}
    )
    assert isinstance(answer, Failure)
    assert answer.message == "Prediction failed"


def test_an_undescribed_handler_answers_null(model_dir: Path) -> None:
    (answer,) = run_handler(
        "base_handler", [b""], kind=Kind.DESCRIBE, model_dir=model_dir, model={"serializedFile": "script.pt"}
    )
    assert isinstance(answer, Reply)
    assert answer.body == b"null"


def test_without_insights_an_explanation_is_refused(context: MockContext) -> None:
    handler = BaseHandler()
    handler.initialize(context)
    with pytest.raises(PredictionException, match="no method get_insights") as caught:
        handler.explain_handle(None, [{}])
    assert caught.value.error_code == 501


def test_a_model_is_compiled_if_its_config_says_so(model_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (model_dir / "config.yaml").write_text("pt2: {compile: {enable: true, backend: eager}}")
    context = MockContext("net.pth", model_dir, "net.py", None, model_yaml_config_file="config.yaml")
    handler = BaseHandler()
    handler.initialize(context)
    assert "Compiled model with backend eager" in caplog.text
    assert torch.tensor(handler.handle(torch.zeros(1, 1, 8, 8), context)).shape == (1, 4)
