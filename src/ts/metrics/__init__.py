"""Metrics of handlers."""

from ts.metrics import dimension as dimension
from ts.metrics import metric as metric
from ts.metrics import metric_encoder as metric_encoder
from ts.metrics import metrics_store as metrics_store
from ts.metrics import system_metrics as system_metrics
from ts.metrics import unit as unit

__all__ = ["dimension", "metric", "metric_encoder", "metrics_store", "system_metrics", "unit"]
