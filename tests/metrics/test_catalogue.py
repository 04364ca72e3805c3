"""metrics.yaml: the package's own, TorchServe's forms, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.metrics.catalogue import Catalogue, CatalogueError, parse_catalogue, read_catalogue
from torchkeeper.wire.messages import Declared

HOST = ("Level", "Hostname")
VERSION = ("model_name", "model_version", "hostname")
GPU = ("Level", "DeviceId", "Hostname")


def test_the_packages_own_file_is_torchserves() -> None:
    catalogue = read_catalogue(None)
    assert catalogue.ts == (
        Declared("Requests2XX", "counter", "Count", HOST),
        Declared("Requests4XX", "counter", "Count", HOST),
        Declared("Requests5XX", "counter", "Count", HOST),
        Declared("ts_inference_requests_total", "counter", "Count", VERSION),
        Declared("ts_inference_latency_microseconds", "counter", "Microseconds", VERSION),
        Declared("ts_queue_latency_microseconds", "counter", "Microseconds", VERSION),
        Declared("QueueTime", "gauge", "Milliseconds", HOST),
        Declared("WorkerThreadTime", "gauge", "Milliseconds", HOST),
        Declared("WorkerLoadTime", "gauge", "Milliseconds", ("WorkerName", *HOST)),
        Declared("CPUUtilization", "gauge", "Percent", HOST),
        Declared("MemoryUsed", "gauge", "Megabytes", HOST),
        Declared("MemoryAvailable", "gauge", "Megabytes", HOST),
        Declared("MemoryUtilization", "gauge", "Percent", HOST),
        Declared("DiskUsage", "gauge", "Gigabytes", HOST),
        Declared("DiskUtilization", "gauge", "Percent", HOST),
        Declared("DiskAvailable", "gauge", "Gigabytes", HOST),
        Declared("GPUMemoryUtilization", "gauge", "Percent", GPU),
        Declared("GPUMemoryUsed", "gauge", "Megabytes", GPU),
        Declared("GPUUtilization", "gauge", "Percent", GPU),
    )
    assert catalogue.model == (
        Declared("HandlerTime", "gauge", "ms", ("ModelName", "Level")),
        Declared("PredictionTime", "gauge", "ms", ("ModelName", "Level")),
    )


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_text(
        """
dimensions: [&level "Level"]
model_metrics:
  counter:
    - {name: Hits, unit: count, dimensions: [*level, "Kind"]}
    - {name: Plain, unit: count}
  histogram:
    - {name: Hits, unit: ms, dimensions: []}
  gauge:
"""
    )
    assert read_catalogue(path) == Catalogue(
        (), (Declared("Hits", "histogram", "ms"), Declared("Plain", "counter", "count"))
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "is no YAML"),
        ("ts_metrics: {gauge: [{name: x, unit: s, dimensions: [*level]}]}", "is no YAML"),
        ("[]", "must hold a mapping"),
        ("ts_metrics: []\nmodel_metrics: [1]", "model_metrics: must be a mapping of counter, gauge"),
        ("ts_metrics: {timer: []}", "'timer' is not one of counter, gauge, histogram"),
        ("ts_metrics: {gauge: 5}", "ts_metrics: gauge must be a list of metrics"),
        ("ts_metrics: {gauge: [{name: x}]}", "Metric unit cannot be empty"),
    ],
)
def test_what_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(CatalogueError, match=why):
        parse_catalogue(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.yaml"):
        read_catalogue(tmp_path / "none.yaml")
    (tmp_path / "metrics.yaml").write_bytes(b"\xff")
    with pytest.raises(CatalogueError, match=r"metrics\.yaml"):
        read_catalogue(tmp_path / "metrics.yaml")
