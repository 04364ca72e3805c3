"""Types of metrics; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import MetricTypes as MetricTypes

__all__ = ["MetricTypes"]
