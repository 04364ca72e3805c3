"""Labels of metrics; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import Dimension as Dimension

__all__ = ["Dimension"]
