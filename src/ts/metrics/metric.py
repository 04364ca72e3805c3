"""The oldest form of a metric; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import CachingMetric as CachingMetric
from torchkeeper.handler.metric import Metric as Metric
from torchkeeper.handler.metric import MetricTypes as MetricTypes
from torchkeeper.handler.metric import MetricUnit as MetricUnit
from torchkeeper.handler.metric import Units as Units

__all__ = ["CachingMetric", "Metric", "MetricTypes", "MetricUnit", "Units"]
