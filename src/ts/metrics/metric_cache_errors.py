"""Errors of metrics; see torchkeeper.handler.metric_errors."""

from torchkeeper.handler.metric_errors import GeneralMetricsCacheError as GeneralMetricsCacheError
from torchkeeper.handler.metric_errors import MetricsCacheIOError as MetricsCacheIOError
from torchkeeper.handler.metric_errors import MetricsCacheKeyError as MetricsCacheKeyError
from torchkeeper.handler.metric_errors import MetricsCachePyYamlError as MetricsCachePyYamlError
from torchkeeper.handler.metric_errors import MetricsCacheTypeError as MetricsCacheTypeError
from torchkeeper.handler.metric_errors import MetricsCacheValueError as MetricsCacheValueError

__all__ = [
    "GeneralMetricsCacheError",
    "MetricsCacheIOError",
    "MetricsCacheKeyError",
    "MetricsCachePyYamlError",
    "MetricsCacheTypeError",
    "MetricsCacheValueError",
]
