"""Metrics that a file declares for handlers, and files that declare nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from torchkeeper.handler.declared import MetricCacheAbstract, MetricsCacheYamlImpl
from torchkeeper.handler.metric_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)

DECLARED = """
dimensions: [&model "ModelName", &level "Level"]
model_metrics:
  gauge:
    - {name: HandlerTime, unit: ms, dimensions: [*model, *level]}
  counter: []
"""


def test_metrics_declared_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_text(DECLARED)
    recorder = MetricsCacheYamlImpl(str(tmp_path / "metrics.yaml"))
    recorder.model_name = "m"
    recorder.initialize_cache()
    assert recorder.cache_keys() == ["gauge:HandlerTime"]
    recorder.set_request_ids({0: "a"})
    recorder.add_time("HandlerTime", 2)
    assert [sample.dimensions for sample in recorder.drain()] == [(("ModelName", "m"), ("Level", "Model"))]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a: [", MetricsCachePyYamlError),
        ("[]", MetricsCacheTypeError),
        ("a: 1", MetricsCacheKeyError),
        ("model_metrics:", MetricsCacheValueError),
        ("model_metrics: {timer: []}", MetricsCacheKeyError),
        ("model_metrics: {gauge: [{name: x}]}", MetricsCacheKeyError),
        ("model_metrics: {gauge: 5}", MetricsCacheTypeError),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, error: type[Exception]) -> None:
    (tmp_path / "metrics.yaml").write_text(content)
    with pytest.raises(error):
        MetricsCacheYamlImpl(tmp_path / "metrics.yaml").initialize_cache()


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetricsCacheIOError, match=r"none\.yaml"):
        MetricsCacheYamlImpl(tmp_path / "none.yaml")
    with pytest.raises(MetricsCacheTypeError, match="named by its path"):
        MetricsCacheYamlImpl(cast(Any, None))


def test_files_of_other_forms_have_classes_of_their_own(tmp_path: Path) -> None:
    class Listed(MetricCacheAbstract):
        def initialize_cache(self) -> None:
            for name in Path(self.config_file_path).read_text().split():
                self.add_metric_to_cache(name, "count")

    (tmp_path / "names.txt").write_text("one two")
    listed = Listed(str(tmp_path / "names.txt"))
    listed.initialize_cache()
    assert listed.cache_keys() == ["counter:one", "counter:two"]
    with pytest.raises(TypeError, match="abstract"):
        MetricCacheAbstract("x")  # type: ignore[abstract]
