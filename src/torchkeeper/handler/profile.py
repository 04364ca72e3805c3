"""The PyTorch profiler around a handler's steps: a trace per batch and a table of the slowest operators.

Switched on by the environment variable ENABLE_TORCH_PROFILER (any text), which TorchServe documents and which
is read here, in the worker. The table goes to standard output, and so into model_log.log and the console.
`profiler_args` of the handler are torch.profiler.profile's own; an `on_trace_ready` among them replaces the
writing of trace files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, tensorboard_trace_handler

#: Rows of the printed table.
TABLE_ROWS = 10


def wanted() -> bool:
    """Whether every batch shall be profiled."""
    return bool(os.environ.get("ENABLE_TORCH_PROFILER"))


def trace_folder(model_name: str) -> Path:
    """Where the traces of a model go unless its handler takes them."""
    return Path(tempfile.gettempdir()) / "pytorch_profiler" / model_name


def arguments(given: dict[str, Any], model_name: str) -> dict[str, Any]:
    """torch.profiler.profile's arguments: the handler's, else CPU (and GPU) with shapes, traces to files."""
    chosen = dict(given)
    if not chosen:
        chosen["activities"] = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            chosen["activities"].append(ProfilerActivity.CUDA)
        chosen["record_shapes"] = True
    if "on_trace_ready" not in chosen:
        folder = trace_folder(model_name)
        print(f"Saving chrome trace to : {folder}")
        chosen["on_trace_ready"] = tensorboard_trace_handler(str(folder))
    return chosen


def run(handler: Any, data: Any, options: dict[str, Any]) -> tuple[Any, profile]:
    """The batch's output and the profiler that watched it: preprocess, then inference or explanation.

    Args:
        handler: a BaseHandler.
        data: the batch's rows.
        options: what `arguments` returned; the same for every batch of the handler.
    """
    with profile(**options) as profiler:
        with record_function("preprocess"):
            prepared = handler.preprocess(data)
        if handler._is_explain():
            with record_function("explain"):
                output = handler.explain_handle(prepared, data)
        else:
            with record_function("inference"):
                output = handler.inference(prepared)
            with record_function("postprocess"):
                output = handler.postprocess(output)
    print(profiler.key_averages().table(sort_by="cpu_time_total", row_limit=TABLE_ROWS))
    return output, profiler
