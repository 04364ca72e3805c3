"""What recording may raise is caught by handlers that know only Python's exceptions, too."""

from __future__ import annotations

import pytest
import yaml

from torchkeeper.handler import metric_errors


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("GeneralMetricsCacheError", Exception),
        ("MetricsCacheIOError", OSError),
        ("MetricsCachePyYamlError", yaml.YAMLError),
        ("MetricsCacheTypeError", TypeError),
        ("MetricsCacheValueError", ValueError),
        ("MetricsCacheKeyError", KeyError),
    ],
)
def test_names_and_bases_are_torchserves(name: str, base: type[Exception]) -> None:
    error = getattr(metric_errors, name)
    assert error.__bases__ == (base,)
    with pytest.raises(base, match="why"):
        raise error("why")
