"""TorchServe's custom metrics example in a real worker, and its profiler: all that a handler may measure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import torch
from archives import HANDLERS, archived
from drawn import at_once, digit, png
from networks import Models

from servers import Server

#: As the example's: the server's metrics, and those of the handler but for two, which are detected.
METRICS = """
dimensions:
  - &model_name "ModelName"
  - &level "Level"
  - &hostname "Hostname"

ts_metrics:
  counter:
    - name: Requests2XX
      unit: Count
      dimensions: [*level, *hostname]
    - name: ts_inference_requests_total
      unit: Count
      dimensions: ["model_name", "model_version", "hostname"]

model_metrics:
  counter:
    - name: DigitRequests
      unit: count
      dimensions: []
    - name: DigitLoads
      unit: count
      dimensions: [*model_name, *level]
    - name: DigitBatches
      unit: count
      dimensions: [*model_name]
    - name: DigitAnswers
      unit: answers
      dimensions: [*model_name, *level]
  gauge:
    - name: HandlerTime
      unit: ms
      dimensions: [*model_name, *level]
    - name: DigitBatchSize
      unit: count
      dimensions: ["ModelName"]
    - name: DigitSize
      unit: kB
      dimensions: [*model_name, *level]
"""
MODELS = {
    "mnist": {
        "1.0": {
            "defaultVersion": True,
            "marName": "mnist.mar",
            "minWorkers": 1,
            "maxWorkers": 1,
            "batchSize": 4,
            "maxBatchDelay": 5000,
        }
    }
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Models]]:
    folder = tmp_path_factory.mktemp("measured_digits")
    store = folder / "model_store"
    store.mkdir()
    models = Models(folder)
    (folder / "metrics.yaml").write_text(METRICS)
    files = ("--model-file", HANDLERS / "digits_model.py", "--serialized-file", folder / "digits.pth")
    archived(store, "mnist", "metrics_handler.py", *files, extra=[HANDLERS / "digits_handler.py"])
    settings = {
        "metrics_mode": "prometheus",
        "metrics_config": folder / "metrics.yaml",
        "model_metrics_auto_detect": "true",
        "enable_envvars_config": "true",
        "models": json.dumps(MODELS, indent=2).replace("\n", "\\\n"),
    }
    environ = {"ENABLE_TORCH_PROFILER": "true"}
    server = Server(folder, ("mnist=mnist.mar",), settings, environ=environ)
    yield server, models
    server.stop()


def numbers(server: Server) -> dict[str, float]:
    """What /metrics says of the handler's metrics, without the label Hostname."""
    page = server.metrics.get("/metrics").text
    found = re.findall(r'^(Digit\w+)\{(.*?),?Hostname="[^"]+",\} (\S+)$', page, re.MULTILINE)
    return {f"{name}{{{labels}}}": float(value) for name, labels, value in found}


def test_every_kind_of_metric(served: tuple[Server, Models]) -> None:
    """custom_metrics: counters, gauges and histograms, declared and detected, are what happened."""
    server, models = served
    pictures = [png(seed, (28, 28), "L") for seed in range(4)]
    answers = at_once(server, "/predictions/mnist", pictures)
    digits = [models.best("digits", digit(picture)) for picture in pictures]
    assert [int(answer.text) for answer in answers] == digits
    assert server.client.put("/predictions/mnist", content=pictures[0]).text == str(digits[0])
    with torch.no_grad():
        sure = [models.known["digits"](digit(picture)).exp().max().item() for picture in pictures]
    found = numbers(server)
    labels = 'ModelName="mnist",Level="Model"'
    batches = found['DigitBatches{ModelName="mnist"}']
    assert 2 <= batches <= 5
    assert found["DigitRequests{}"] == 5
    assert found[f"DigitLoads{{{labels}}}"] == 1
    assert found[f"DigitAnswers{{{labels}}}"] == 5
    assert found['DigitBatchSize{ModelName="mnist"}'] == 1
    assert found[f"DigitSize{{{labels}}}"] == len(pictures[0]) / 1024
    assert found[f'DigitStepTime{{Step="preprocess",{labels}}}'] > 0
    assert found[f"DigitCertainty_count{{{labels}}}"] == 5
    assert found[f"DigitCertainty_sum{{{labels}}}"] == pytest.approx(100 * sum([*sure, sure[0]]), rel=1e-4)
    page = server.metrics.get("/metrics").text
    assert "# HELP DigitAnswers Torchserve prometheus counter metric with unit: answers\n" in page
    assert "# TYPE DigitCertainty histogram\n" in page
    assert re.search(r'^Requests2XX\{Level="Host",Hostname="[^"]+",\} [5-9]\.0$', page, re.MULTILINE)
    assert "QueueTime" not in page, "metrics.yaml does not declare it"


def test_the_profiler_writes_traces_and_a_table(served: tuple[Server, Models]) -> None:
    """mnist's README: ENABLE_TORCH_PROFILER and the handler's answer side by side."""
    server, models = served
    picture = png(7, (28, 28), "L")
    answer = server.client.put("/predictions/mnist", content=picture)
    assert int(answer.text) == models.best("digits", digit(picture))
    server.wait_for("Self CPU time total")
    traces = list((server.temp / "pytorch_profiler" / "mnist").glob("*.pt.trace.json"))
    names = {event.get("name") for event in json.loads(traces[0].read_text())["traceEvents"]}
    assert {"preprocess", "inference", "postprocess"} <= names
