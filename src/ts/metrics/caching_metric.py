"""A metric; see torchkeeper.handler.metric."""

from torchkeeper.handler.metric import CachingMetric as CachingMetric

__all__ = ["CachingMetric"]
