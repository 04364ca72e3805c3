"""Datadog's agent, played: what its check `torchserve` asks, and what it makes of the answers.

Source: DataDog/integrations-core, `torchserve`: three instances, for the inference, the management and the
metrics address.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers import Server, eventually, make_archive, mnist_server
from torchkeeper.metrics.catalogue import read_catalogue

pytestmark = pytest.mark.slow

#: The metrics that it collects, as it names them: of a counter's name it leaves `_total` out.
METRICS = """
CPUUtilization DiskAvailable DiskUsage DiskUtilization MemoryAvailable MemoryUsed MemoryUtilization QueueTime
Requests2XX Requests4XX Requests5XX ts_inference_latency_microseconds ts_inference_requests
ts_queue_latency_microseconds WorkerLoadTime WorkerThreadTime HandlerTime PredictionTime
"""
ON_GPUS = ("GPUUtilization", "GPUMemoryUtilization", "GPUMemoryUsed")
#: What it makes of a worker's status; any other is a 0, too.
STATUSES = {"UNKNOWN": 0, "READY": 1, "LOADING": 2, "UNLOADING": 3}


def families(page: str) -> dict[str, str]:
    """The families of a metrics page with their types, by the names that the check looks for."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)
    return {name.removesuffix("_total"): kind for name, kind in found}


def models(manage: httpx.Client) -> list[dict[str, Any]]:
    """All models, page by page, as the check asks for them."""
    content = manage.get("/models", params={"limit": 100}).raise_for_status().json()
    found = list(content["models"])
    while "nextPageToken" in content:
        params = {"limit": 100, "nextPageToken": content["nextPageToken"]}
        content = manage.get("/models", params=params).raise_for_status().json()
        found += content["models"]
    return found


@pytest.fixture
def digits(tmp_path: Path) -> Any:
    server = mnist_server(tmp_path, metrics_mode="prometheus", metric_time_interval=1)
    yield server
    if server.process.poll() is None:
        server.stop()


def test_health_is_the_status_of_ping(digits: Server) -> None:
    assert digits.client.get("/ping").status_code == 200


def test_every_metric_that_it_collects_is_there(digits: Server) -> None:
    picture = (Path(__file__).parents[2] / "examples/image_classifier/mnist/test_data/3.png").read_bytes()
    assert digits.client.post("/predictions/mnist", content=picture).text == "3"
    assert digits.client.post("/predictions/none").status_code == 404
    page = ""
    while "# TYPE CPUUtilization" not in page:  # the machine is looked at once a second
        page = digits.metrics.get("/metrics").text
    found = families(page)
    missing = [name for name in METRICS.split() if name not in found]
    assert missing in ([], ["Requests5XX"]), "a counter that never counted may be left out, as by TorchServe"
    assert found["ts_inference_requests"] == "counter"
    assert {found[name] for name in ("CPUUtilization", "QueueTime", "HandlerTime")} == {"gauge"}
    declared = {metric.name for metric in read_catalogue(None).ts}
    assert declared >= {*ON_GPUS, "Requests5XX"}


def test_models_versions_and_workers(digits: Server) -> None:
    listed = next(row for row in models(digits.manage) if row["modelName"] == "mnist")
    version: dict[str, Any] = {}

    def all_ready() -> bool:
        (found,) = digits.manage.get("/models/mnist/all").raise_for_status().json()
        version.update(found)
        return all(STATUSES[worker["status"]] == 1 for worker in found["workers"])

    eventually(all_ready)
    gauges = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")
    assert all(isinstance(version[name], int) for name in gauges)
    assert version["loadedAtStartup"] is True
    assert version["modelUrl"] == listed["modelUrl"], "by which it tells the default version"
    for worker in version["workers"]:
        assert worker["memoryUsage"] > 0
        assert (worker["gpu"], worker["pid"] > 0, bool(worker["id"])) == (False, True, True)


def test_more_models_than_a_page_has(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    make_archive(store, "m", "def handle(data, context):\n    return data and ['x'] * len(data)\n")
    server = Server(tmp_path, (), {"enable_model_api": "true", "default_workers_per_model": "1"})
    for number in range(101):
        params = {"url": "m-1.0.mar", "model_name": f"m{number}", "initial_workers": "0"}
        server.manage.post("/models", params=params).raise_for_status()
    assert len(models(server.manage)) == 101
    server.stop()
