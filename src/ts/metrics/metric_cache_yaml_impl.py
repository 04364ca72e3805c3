"""Metrics declared in a file; see torchkeeper.handler.declared."""

from torchkeeper.handler.declared import MetricsCacheYamlImpl as MetricsCacheYamlImpl

__all__ = ["MetricsCacheYamlImpl"]
