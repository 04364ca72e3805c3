"""What this installation can do, under the names by which handlers ask `ts.torch_handler.base_handler`."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from torchkeeper.handler.onnx_model import open_session

#: torch's profiler, torch.compile and what came with 2.3 are in every torch that is allowed here.
PROFILER_AVAILABLE = PT2_AVAILABLE = PT230_AVAILABLE = True
#: The Intel extension is not used: torch brings what it did.
IPEX_AVAILABLE = False
XLA_AVAILABLE = importlib.util.find_spec("torch_xla") is not None
ONNX_AVAILABLE = importlib.util.find_spec("onnxruntime") is not None


def setup_ort_session(model_pt_path: str, map_location: str | None) -> Any:
    """An onnxruntime session for a model's file, on the GPU where `map_location` is "cuda" or "cuda:1".

    Raises:
        ImportError: onnxruntime is not installed.
    """
    try:
        return open_session(model_pt_path, torch.device(map_location or "cpu"))
    except ImportError as error:
        raise ImportError(f"ONNX models are run by onnxruntime: pip install onnxruntime ({error})") from None
