"""Errors of metrics; see torchkeeper.metrics.errors."""

from torchkeeper.metrics.errors import GeneralMetricsCacheError as GeneralMetricsCacheError
from torchkeeper.metrics.errors import MetricsCacheIOError as MetricsCacheIOError
from torchkeeper.metrics.errors import MetricsCacheKeyError as MetricsCacheKeyError
from torchkeeper.metrics.errors import MetricsCachePyYamlError as MetricsCachePyYamlError
from torchkeeper.metrics.errors import MetricsCacheTypeError as MetricsCacheTypeError
from torchkeeper.metrics.errors import MetricsCacheValueError as MetricsCacheValueError

__all__ = [
    "GeneralMetricsCacheError",
    "MetricsCacheIOError",
    "MetricsCacheKeyError",
    "MetricsCachePyYamlError",
    "MetricsCacheTypeError",
    "MetricsCacheValueError",
]
