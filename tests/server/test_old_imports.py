"""Handlers that use the less known of TorchServe's import names, in real workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers import Server, eventually, make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path

#: Cuts its batches; a row "bad" fails, a row "0" cannot be read.
SMALL = """
from ts.handler_utils.micro_batching import MicroBatching
from ts.torch_handler.base_handler import BaseHandler


class Small(BaseHandler):
    def __init__(self):
        super().__init__()
        self.handle = MicroBatching(self, micro_batch_size=2)

    def initialize(self, context):
        self.handle.parallelism = context.model_yaml_config["micro_batching"]["parallelism"]
        self.initialized = True

    def preprocess(self, data):
        return [float((row.get("data") or row.get("body")).decode()) for row in data]

    def inference(self, data):
        return [(number * 2, self.handle.get_micro_batch_idx()) for number in data]

    def postprocess(self, data):
        return [f"{number:g}" for number, _ in data]
"""
CONFIG = """
batchSize: 8
maxBatchDelay: 100
micro_batching: {parallelism: {preprocess: 2, inference: 2}}
"""
METERED = """
from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric
from ts.metrics.system_metrics import cpu_utilization
from ts.service import emit_metrics
from ts.torch_handler.base_handler import PROFILER_AVAILABLE, BaseHandler


class Metered(BaseHandler):
    def initialize(self, context):
        context.metrics.add_counter("Loads", 1)
        self.initialized = PROFILER_AVAILABLE

    def handle(self, data, context):
        cpu_utilization()
        context.metrics.add_counter("Calls", 1)
        emit_metrics([Metric("Depth", 3, "count", [Dimension("Level", "Own")], context.get_request_id())])
        emit_metrics(context.metrics.store)
        return ["ok"] * len(data)
"""

MODEL = 'ModelName="metered",Level="Model"'


@pytest.mark.slow
def test_handlers_of_the_old_school(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "small", SMALL, config=CONFIG)
    make_archive(tmp_path / "model_store", "metered", METERED)
    server = Server(
        tmp_path,
        ("small-1.0.mar", "metered-1.0.mar"),
        {"metrics_mode": "prometheus", "model_metrics_auto_detect": "true"},
    )
    with ThreadPoolExecutor(16) as many:
        answers = list(
            many.map(lambda n: server.client.post("/predictions/small", content=str(n)), range(16))
        )
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, f"{2 * n}") for n in range(16)]
    failed = server.client.post("/predictions/small", content="bad")
    assert (failed.status_code, "could not convert string to float: 'bad'" in failed.text) == (503, True)
    assert server.client.post("/predictions/small", content="4").text == "8"

    assert server.client.post("/predictions/metered", content="x").text == "ok"
    eventually(lambda: "Depth" in server.metrics.get("/metrics").text)
    page = server.metrics.get("/metrics").text
    for name, labels in (("Loads", MODEL), ("Calls", MODEL), ("Depth", 'Level="Own"')):
        assert [line for line in page.splitlines() if line.startswith(f"{name}{{{labels},")], page
    server.stop()
