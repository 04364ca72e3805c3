"""Types of metrics; see torchkeeper.metrics.metric."""

from torchkeeper.metrics.metric import MetricTypes as MetricTypes

__all__ = ["MetricTypes"]
