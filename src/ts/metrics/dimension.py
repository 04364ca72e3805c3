"""Labels of metrics; see torchkeeper.metrics.metric."""

from torchkeeper.metrics.metric import Dimension as Dimension

__all__ = ["Dimension"]
