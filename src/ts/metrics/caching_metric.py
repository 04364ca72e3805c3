"""A metric; see torchkeeper.metrics.metric."""

from torchkeeper.metrics.metric import CachingMetric as CachingMetric

__all__ = ["CachingMetric"]
