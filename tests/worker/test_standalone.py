"""Handlers loaded and asked in this process, by the names of TorchServe's own loader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.handler.metrics_store import MetricsStore
from ts.model_loader import ModelLoader, ModelLoaderFactory
from ts.service import Service

SOURCE = """
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException


class Loud(BaseHandler):
    def initialize(self, context):
        context.metrics.add_counter("Loads", 1)
        self.mark = context.model_yaml_config["mark"]
        self.initialized = True

    def handle(self, data, context):
        if context.get_request_header(0, "how") == "refuse":
            raise PredictionException("not today", 404)
        if context.get_request_header(0, "how") == "fail":
            raise LookupError
        if context.get_request_header(0, "how") == "exhaust":
            raise MemoryError
        if context.get_request_header(0, "how") == "lose":
            return []
        return [bytes(row["data"]).decode().upper() + self.mark for row in data]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loud.py").write_text(SOURCE)
    (tmp_path / "model-config.yaml").write_text("mark: '!'\n")
    (tmp_path / "MAR-INF").mkdir()
    manifest = {"model": {"modelName": "loud", "handler": "loud.py", "configFile": "model-config.yaml"}}
    (tmp_path / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return tmp_path


def request(data: bytes, number: int = 0, **headers: str) -> dict[str, Any]:
    return {
        "requestId": f"r{number}".encode(),
        "headers": [{"name": name.encode(), "value": value.encode()} for name, value in headers.items()],
        "parameters": [{"name": "data", "contentType": "text/plain", "value": data}],
    }


def test_a_batch_goes_to_the_entry_point_of_a_loaded_handler(folder: Path) -> None:
    loader = ModelLoaderFactory.get_model_loader()
    assert isinstance(loader, ModelLoader)
    service = loader.load("loud", str(folder), "loud.py", None, 1, None)
    batch = [request(b"one", 0, Accept="x"), {**request(b"two", 1), "headers": None}]
    headers, rows, ids = Service.retrieve_data_for_inference(batch)
    assert (rows, ids) == ([{"data": b"one"}, {"data": b"two"}], {0: "r0", 1: "r1"})
    service.context.request_ids = ids
    service.context.request_processor = headers
    service.context.metrics.request_ids = ids
    assert service.context.get_request_header(0, "accept") == "x"
    assert service.context.get_request_header(1, "data") == {"content-type": "text/plain"}
    assert service._entry_point(rows, service.context) == ["ONE!", "TWO!"]


@pytest.mark.parametrize(
    ("how", "status", "said", "value"),
    [
        ("", 200, b"Prediction success", b"ONE!"),
        ("refuse", 404, b"not today", b"error"),
        ("fail", 503, b"Prediction failed", b"error"),
        ("exhaust", 507, b"Out of resources", b"error"),
        ("lose", 503, b"number of batch response mismatched", b"error"),
    ],
)
def test_predict_makes_the_message(folder: Path, how: str, status: int, said: bytes, value: bytes) -> None:
    service = ModelLoaderFactory.get_model_loader().load("loud", str(folder), "loud.py:Loud")
    service.set_cl_socket("kept")
    assert service.context.cl_socket == "kept"
    message = service.predict([request(b"one", how=how)])
    assert message is not None
    code, length = struct.unpack("!ii", message[:8])
    assert (code, message[8 : 8 + length]) == (status, said)
    assert message.endswith(value + b"\xff\xff\xff\xff")


def test_numbers_go_where_the_caller_wants(folder: Path) -> None:
    store = MetricsStore(None, "loud")
    service = ModelLoaderFactory.get_model_loader().load("loud", str(folder), metrics_cache=store)
    service.predict([request(b"one")])
    names = [(one.name, one.dimension_values) for one in store.store]
    assert names == [("Loads", ["loud", "Model"]), ("PredictionTime", ["loud", "Model"])]


def test_a_handler_in_an_envelope(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "def handle(data, context):\n    return data and [str(x) for x in data]\n"
    )
    service = ModelLoaderFactory.get_model_loader().load("m", str(tmp_path), "plain", envelope="body")
    message = service.predict([request(b"one")])
    assert message is not None
    assert message.endswith(b"b'one'\xff\xff\xff\xff")


@pytest.mark.parametrize("handler", [None, "gone.py"])
def test_no_handler(tmp_path: Path, handler: str | None) -> None:
    with pytest.raises(ValueError, match="handler"):
        ModelLoaderFactory.get_model_loader().load("m", str(tmp_path), handler)
    with pytest.raises(ValueError, match="Received invalid inputs"):
        Service.retrieve_data_for_inference(None)
