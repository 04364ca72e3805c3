"""What this installation can do, under the names by which handlers ask `ts.torch_handler.base_handler`."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torchkeeper.machine.hardware import cpu_count

#: torch's profiler, torch.compile and what came with 2.3 are in every torch that is allowed here.
PROFILER_AVAILABLE = PT2_AVAILABLE = PT230_AVAILABLE = True
#: The Intel extension is not used: torch brings what it did.
IPEX_AVAILABLE = False
XLA_AVAILABLE = importlib.util.find_spec("torch_xla") is not None
ONNX_AVAILABLE = importlib.util.find_spec("onnxruntime") is not None


def setup_ort_session(model_pt_path: str, map_location: str | None) -> Any:
    """An onnxruntime session for a model's file, on the GPU where `map_location` is "cuda".

    Raises:
        ImportError: onnxruntime is not installed.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(f"ONNX models are run by onnxruntime: pip install onnxruntime ({error})") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    providers = ["CUDAExecutionProvider"] * (map_location == "cuda") + ["CPUExecutionProvider"]
    return runtime.InferenceSession(model_pt_path, options, providers)
