"""Units of metrics; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import Units as Units

__all__ = ["Units"]
