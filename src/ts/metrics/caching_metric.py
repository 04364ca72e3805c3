"""A metric; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import CachingMetric as CachingMetric
from torchkeeper.handler.metric import Dimension as Dimension
from torchkeeper.handler.metric import MetricAbstract as MetricAbstract
from torchkeeper.handler.metric import MetricTypes as MetricTypes

__all__ = ["CachingMetric", "Dimension", "MetricAbstract", "MetricTypes"]
