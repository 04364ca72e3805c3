"""The base of recorders of a file's metrics; see torchkeeper.handler.declared."""

from torchkeeper.handler.declared import MetricCacheAbstract as MetricCacheAbstract
from torchkeeper.handler.metric import Dimension as Dimension
from torchkeeper.handler.metric import MetricAbstract as MetricAbstract
from torchkeeper.handler.metric import MetricTypes as MetricTypes

__all__ = ["Dimension", "MetricAbstract", "MetricCacheAbstract", "MetricTypes"]
