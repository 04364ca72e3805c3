"""The oldest recorder of metrics; see torchkeeper.handler.metrics_store."""

from torchkeeper.handler.metric import Dimension as Dimension
from torchkeeper.handler.metric import Metric as Metric
from torchkeeper.handler.metrics_store import MetricsStore as MetricsStore

__all__ = ["Dimension", "Metric", "MetricsStore"]
