"""The oldest form of a metric; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import Metric as Metric

__all__ = ["Metric"]
