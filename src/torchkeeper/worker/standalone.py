"""A handler loaded and asked in another program's process, through the names of TorchServe's own loader.

Serving programs that run TorchServe's archives use them so. Source of names, parameters and forms:
TorchServe's `ts.model_loader` and `ts.service`.
"""

from __future__ import annotations

import abc
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.helpers import get_yaml_config
from torchkeeper.handler.otf import create_predict_response
from torchkeeper.handler.outcome import WrongOutcome, check_one_per_row
from torchkeeper.handler.recorder import PREDICTION_METRIC, Recorder
from torchkeeper.worker.loader import entry_point as loaded_entry_point
from torchkeeper.worker.replies import failure_of, log_traceback

_FAULT = 503


class StandaloneService:
    """A model's entry point and its context.

    Args:
        model_name: name of the model.
        model_dir: folder of the model's files.
        manifest: content of its MANIFEST.json; None without one.
        entry_point: the handler.
        gpu: index of the GPU; None for the CPU.
        batch_size: for the context.
        limit_max_image_pixels: for the context.
        metrics_cache: where the handler records numbers; None: a recorder that nobody reads.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any] | None,
        entry_point: Any,
        gpu: int | None,
        batch_size: int | None,
        limit_max_image_pixels: bool = True,
        metrics_cache: Any = None,
    ) -> None:
        config_file = (manifest or {}).get("model", {}).get("configFile")
        self._context = Context(
            model_name,
            model_dir,
            manifest or {},
            batch_size or 1,
            gpu,
            TORCHSERVE_VERSION,
            limit_max_image_pixels,
            Recorder(model_name) if metrics_cache is None else metrics_cache,
            get_yaml_config(Path(model_dir, config_file)) if config_file else {},
        )
        self._entry_point = entry_point

    @property
    def context(self) -> Context:
        """What the handler is told."""
        return self._context

    def set_cl_socket(self, cl_socket: Any) -> None:
        """Kept as the context's attribute of that name; nothing is sent there."""
        self._context.cl_socket = cl_socket

    @staticmethod
    def retrieve_data_for_inference(
        batch: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[list[RequestProcessor], list[dict[str, Any]], dict[int, str]]:
        """The requests' headers, the handler's rows and the requests' ids.

        Args:
            batch: requests {"requestId": bytes, "parameters": [{"name", "contentType", "value"}],
                "headers": [{"name": bytes, "value": bytes}]}; headers may be missing.

        Raises:
            ValueError: there is no batch.
        """
        if batch is None:
            raise ValueError("Received invalid inputs")
        processors, rows, ids = [], [], {}
        for place, request in enumerate(batch):
            parameters = request["parameters"]
            headers: dict[str, Any] = {
                one["name"]: {"content-type": one["contentType"]} for one in parameters
            }
            for one in request.get("headers") or ():
                headers[one["name"].decode()] = one["value"].decode()
            processors.append(RequestProcessor(headers))
            rows.append({one["name"]: one["value"] for one in parameters})
            ids[place] = request["requestId"].decode()
        return processors, rows, ids

    def predict(self, batch: Sequence[Mapping[str, Any]] | None) -> bytearray | None:
        """The outcome of a batch, as `create_predict_response` writes it."""
        context = self._context
        context.request_processor, rows, ids = self.retrieve_data_for_inference(batch)
        context.request_ids = ids
        context.metrics.set_request_ids(ids)
        begin = time.perf_counter()
        try:
            output = self._entry_point(rows, context)
            check_one_per_row("returned", output, len(rows))
        except WrongOutcome as error:
            return create_predict_response(None, ids, error.message, _FAULT)
        except Exception as error:  # noqa: BLE001 - the handler is user code
            log_traceback()
            failure = failure_of(error, _FAULT)
            return create_predict_response(None, ids, failure.message, failure.status)
        context.metrics.add_time(PREDICTION_METRIC, round((time.perf_counter() - begin) * 1000, 2))
        return create_predict_response(output, ids, "Prediction success", 200, context)


class ModelLoader(abc.ABC):
    """What loads models."""

    @abc.abstractmethod
    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool | None = True,
    ) -> Any:
        """The loaded model."""


class TsModelLoader(ModelLoader):
    """Loads handlers by TorchServe's rules."""

    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool | None = True,
        metrics_cache: Any = None,
    ) -> StandaloneService:
        """The service of an unpacked archive, its handler initialised.

        Raises:
            ValueError: there is no such handler.
            Exception: whatever the user's module or its initialize raises.
        """
        path = Path(model_dir, "MAR-INF", "MANIFEST.json")
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        limit = limit_max_image_pixels is not False
        service = StandaloneService(
            model_name, model_dir, manifest, None, gpu_id, batch_size, limit, metrics_cache
        )
        service.context.metrics.set_request_ids(str(uuid.uuid4()))
        name = handler or (manifest or {}).get("model", {}).get("handler")
        if not name:
            raise ValueError(f"no handler is named, nor by a manifest in {model_dir}")
        service._entry_point = loaded_entry_point(name, Path(model_dir), service.context, envelope)
        return service


class ModelLoaderFactory:
    """Gives the loader."""

    @staticmethod
    def get_model_loader() -> TsModelLoader:
        """The loader."""
        return TsModelLoader()
