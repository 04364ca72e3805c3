"""BaseHandler: loads the archive's model and answers a batch in three steps that a handler may override.

Knows contexts and rows, never requests or sockets. Subclasses reach into its attributes and underscore
methods, so these are contract too. Source: TorchServe's `ts.torch_handler.base_handler`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from torchkeeper.handler import explain, profile
from torchkeeper.handler.compile import compiled
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.labels import handler_mapping
from torchkeeper.handler.served_model import ServedModel
from torchkeeper.handler.timing import timed
from torchkeeper.handler.weights import load_eager, load_whole, read_torchscript

#: First CUDA compute capability with TF32, which float32 products may use there.
_AMPERE = (8, 0)


class BaseHandler:
    """Serves a model whose input and output are tensors; the base of all other handlers."""

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: dict[str, str] | None = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: Any = None
        self.map_location: str | None = None
        self.explain = False
        self.target = 0
        #: Arguments of torch.profiler.profile; empty means the defaults of `handler.profile`.
        self.profiler_args: dict[str, Any] = {}
        self.model_yaml_config: dict[str, Any] = {}
        self._profile_options: dict[str, Any] | None = None

    def initialize(self, context: Context) -> None:
        """Chooses the device and loads the model that the manifest names, and index_to_name.json.

        Raises:
            RuntimeError: there is no model, or none that can be loaded.
            ValueError: the model file does not define exactly one class.
        """
        self.context = context
        self.model_yaml_config = getattr(context, "model_yaml_config", None) or {}
        self.manifest = context.manifest
        properties = context.system_properties
        self.map_location, self.device = _choose_device(properties.get("gpu_id"))
        model_dir = str(properties.get("model_dir"))
        self.model = compiled(self._load(model_dir), self.model_yaml_config)
        if isinstance(self.model, ServedModel):
            context.signature = self.model.signature
        self.mapping = handler_mapping(model_dir, self.postprocess)
        self.initialized = True

    def _load(self, model_dir: str) -> Any:
        files = self.manifest["model"]
        serialized = files.get("serializedFile")
        self.model_pt_path = os.path.join(model_dir, serialized) if serialized else None
        if files.get("modelFile"):
            model = self._load_pickled_model(model_dir, files["modelFile"], self.model_pt_path)
            model.to(self.device)
        elif self.model_pt_path is not None and self.model_pt_path.endswith(".pt"):
            model = self._load_torchscript_model(self.model_pt_path)
        else:
            model = load_whole(Path(self.model_pt_path) if self.model_pt_path else None, self.device)
        model.eval()
        return model

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        """The eager model of a source file, with the values of a state dict if there is one."""
        weights = Path(model_pt_path) if model_pt_path else None
        mapped = getattr(self.context, "unpacked", False) is True
        return load_eager(Path(model_dir) / model_file, weights, self.device, mapped=mapped)

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        """The TorchScript model of a file, on the handler's device."""
        return read_torchscript(Path(model_pt_path), self.device)

    @timed
    def preprocess(self, data: Any) -> Any:
        """The batch as one tensor on the handler's device."""
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's output for a tensor, computed without gradients."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> Any:
        """A list with one JSON-ready element per request."""
        return data.tolist()

    def handle(self, data: Any, context: Context) -> Any:
        """Answers a batch: describe, explain or predict, whichever its requests ask for.

        Args:
            data: one row per request.
            context: the batch's requests; kept as `self.context`.

        Returns:
            A list with one element per row. The time it took is recorded as `HandlerTime` (ms).
        """
        begin = time.perf_counter()
        self.context = context
        if self._is_describe():
            output = [self.describe_handle()] * max(1, len(data or ()))
        elif profile.wanted():
            output, _ = self._infer_with_profiler(data=data)
        else:
            prepared = self.preprocess(data)
            if self._is_explain():
                output = self.explain_handle(prepared, data)
            else:
                output = self.postprocess(self.inference(prepared))
        if context.metrics is not None:
            context.metrics.add_time(
                "HandlerTime", round((time.perf_counter() - begin) * 1000, 2), None, "ms"
            )
        return output

    def _infer_with_profiler(self, data: Any) -> tuple[Any, Any]:
        """The batch's output and the torch profiler that watched the steps."""
        if self._profile_options is None:
            manifest = self.manifest or self.context.manifest or {}
            name = manifest.get("model", {}).get("modelName") or self.context.model_name
            self._profile_options = profile.arguments(self.profiler_args, name)
        return profile.run(self, data, self._profile_options)

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        """Explains a batch through the handler's `get_insights(tensor, inputs, target)`.

        Args:
            data_preprocess: what `preprocess` made of the batch.
            raw_data: the batch's rows; `target` of each is the class to explain (0 without one).

        Raises:
            PredictionException: the handler has no `get_insights`.
            ValueError: a target is no number.
        """
        insights = getattr(self, "get_insights", None)
        if insights is None:
            raise PredictionException(explain.NO_INSIGHTS, explain.NOT_IMPLEMENTED)
        print("Calculating Explanations")
        target = explain.batch_target(raw_data, self.device)
        return insights(data_preprocess, explain.batch_inputs(raw_data), target)

    def _asks(self, kind: str) -> bool:
        return bool(self.context) and self.context.get_request_header(0, kind) == "True"

    def _is_explain(self) -> bool:
        if not self._asks("explain"):
            return False
        self.explain = True
        return True

    def _is_describe(self) -> bool:
        return self._asks("describe")

    def describe_handle(self) -> Any:
        """What a customised describe request shall be told about the model; None unless overridden."""
        return None

    def get_device(self) -> Any:
        """The device that the model is on."""
        return self.device


def _choose_device(gpu_id: int | str | None) -> tuple[str, torch.device]:
    """(map location, device) for a worker's GPU index; the CPU when it has none or torch sees none.

    TS_IPEX_GPU_ENABLE=true, which TorchServe documents, allows Intel GPUs.
    """
    if gpu_id is not None:
        if torch.cuda.is_available():
            device = torch.device(f"cuda:{gpu_id}")
            if torch.cuda.get_device_capability(device) >= _AMPERE:
                torch.set_float32_matmul_precision("high")
            return "cuda", device
        if os.environ.get("TS_IPEX_GPU_ENABLE", "false") == "true" and torch.xpu.is_available():
            return "xpu", torch.device(f"xpu:{gpu_id}")
        if torch.backends.mps.is_available():
            return "mps", torch.device("mps")
    return "cpu", torch.device("cpu")
