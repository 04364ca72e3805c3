"""The base of metrics; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import MetricAbstract as MetricAbstract
from torchkeeper.handler.metric import MetricTypes as MetricTypes
from torchkeeper.handler.metric import MetricUnit as MetricUnit
from torchkeeper.handler.metric import Units as Units

__all__ = ["MetricAbstract", "MetricTypes", "MetricUnit", "Units"]
