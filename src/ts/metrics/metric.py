"""The oldest form of a metric; see torchkeeper.metrics.metric."""

from torchkeeper.metrics.metric import Metric as Metric

__all__ = ["Metric"]
