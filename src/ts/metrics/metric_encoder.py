"""Metrics as JSON; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import Dimension as Dimension
from torchkeeper.handler.metric import Metric as Metric
from torchkeeper.handler.metric import MetricEncoder as MetricEncoder

__all__ = ["Dimension", "Metric", "MetricEncoder"]
