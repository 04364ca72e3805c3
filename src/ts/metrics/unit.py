"""Units of metrics; see torchkeeper.metrics.metric."""

from torchkeeper.metrics.metric import Units as Units

__all__ = ["Units"]
