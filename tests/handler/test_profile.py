"""The profiler: a trace that parses and holds the model's operators, the table, the handler's own say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.handler.transforms import ToTensor
from torchkeeper.handler.vision import VisionHandler
from torchkeeper.testing import run_handler
from torchkeeper.wire.messages import Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth", "modelName": "digits"}

OWN_ARGUMENTS = """
from pathlib import Path

from torch.profiler import ProfilerActivity
from ts.torch_handler.image_classifier import ImageClassifier
from torchkeeper.handler.transforms import ToTensor


def keep(profiler):
    profiler.export_chrome_trace("own.json")


class Own(ImageClassifier):
    image_processing = ToTensor()
    topk = 1

    def __init__(self):
        super().__init__()
        self.profiler_args = {"activities": [ProfilerActivity.CPU], "on_trace_ready": keep}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiling is on, and the temporary folder is the test's own."""
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "true")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    return tmp_path / "temp" / "pytorch_profiler" / "digits"


def operators(trace: Path) -> set[str]:
    return {event["name"] for event in json.loads(trace.read_text())["traceEvents"] if "name" in event}


def test_a_trace_holds_the_models_operators_and_the_steps(
    model_dir: Path, png: Callable[[int], bytes], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (answer,) = run_handler(model_dir / "handler.py", [png(1)], model=MODEL)
    assert isinstance(answer, Reply)
    (trace,) = folder.glob("*.pt.trace.json")
    assert {"aten::conv2d", "aten::linear", "preprocess", "inference", "postprocess"} <= operators(trace)
    printed = capfd.readouterr().out
    assert printed.count(f"Saving chrome trace to : {folder}") == 1
    assert "Self CPU time total" in printed
    assert "aten::conv2d" in printed


def test_an_explanation_is_profiled_as_such(
    model_dir: Path, png: Callable[[int], bytes], folder: Path
) -> None:
    (answer,) = run_handler(model_dir / "handler.py", [png(1)], kind=Kind.EXPLAIN, model=MODEL)
    assert isinstance(answer, Reply)
    (trace,) = folder.glob("*.pt.trace.json")
    names = operators(trace)
    assert {"preprocess", "explain"} <= names
    assert "inference" not in names


def test_the_handlers_own_arguments_are_honoured(
    model_dir: Path, png: Callable[[int], bytes], folder: Path
) -> None:
    (model_dir / "own.py").write_text(OWN_ARGUMENTS)
    (answer,) = run_handler(model_dir / "own.py", [png(1)], model=MODEL)
    assert isinstance(answer, Reply)
    assert "aten::conv2d" in operators(model_dir / "own.json")
    assert not folder.exists()


def test_a_describe_request_is_still_one(model_dir: Path, folder: Path) -> None:
    answers = run_handler(model_dir / "handler.py", [b"", b""], kind=Kind.DESCRIBE, model=MODEL)
    assert [answer.body for answer in answers if isinstance(answer, Reply)] == [b"null", b"null"]
    assert not folder.exists()


def test_the_folder_is_announced_once(
    context: Any, png: Callable[[int], bytes], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Digits(VisionHandler):
        image_processing = ToTensor()

    handler = Digits()
    handler.initialize(context)
    for _ in range(2):
        handler.handle([png(1)], context)
    printed = capfd.readouterr().out
    assert printed.count("Saving chrome trace to") == 1
    assert printed.count("Self CPU time total") == 2
    assert len(list((folder.parent / "mnist").glob("*.json"))) == 2
