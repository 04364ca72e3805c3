"""What handlers ask of an installation."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
import torch

from torchkeeper.handler import abilities


def test_flags() -> None:
    assert abilities.PROFILER_AVAILABLE is hasattr(torch.profiler, "profile")
    assert abilities.PT2_AVAILABLE is hasattr(torch, "compile")
    assert abilities.ONNX_AVAILABLE is (importlib.util.find_spec("onnxruntime") is not None)


def test_what_runs_onnx_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        abilities.setup_ort_session("m.onnx", "cpu")


def test_a_session_takes_the_workers_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    asked = {}

    def session(path: str, *, sess_options: Any, providers: list[str]) -> None:
        asked[path] = (sess_options.intra_op_num_threads, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    abilities.setup_ort_session("m.onnx", None)
    assert asked == {"m.onnx": (7, ["CPUExecutionProvider"])}


@pytest.mark.skipif(not abilities.ONNX_AVAILABLE, reason="onnxruntime is not installed")
def test_a_model_that_is_none_is_refused_by_the_runtime() -> None:
    with pytest.raises(Exception, match=r"nowhere\.onnx"):
        abilities.setup_ort_session("nowhere.onnx", "cpu")
