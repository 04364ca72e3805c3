"""Metrics declared in a file; see torchkeeper.metrics.declared."""

from torchkeeper.metrics.declared import MetricsCacheYamlImpl as MetricsCacheYamlImpl

__all__ = ["MetricsCacheYamlImpl"]
