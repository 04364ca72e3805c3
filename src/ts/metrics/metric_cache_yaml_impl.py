"""Metrics declared in a file; see torchkeeper.handler.declared."""

from torchkeeper.handler.declared import MetricCacheAbstract as MetricCacheAbstract
from torchkeeper.handler.declared import MetricsCacheYamlImpl as MetricsCacheYamlImpl
from torchkeeper.handler.metric import CachingMetric as CachingMetric
from torchkeeper.handler.metric import MetricTypes as MetricTypes

__all__ = ["CachingMetric", "MetricCacheAbstract", "MetricTypes", "MetricsCacheYamlImpl"]
