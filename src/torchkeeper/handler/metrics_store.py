"""The oldest recorder of metrics: keeps them in a list, for code that reads it there.

Source: TorchServe's `ts.metrics.metrics_store`, which its tests and notebooks put into a context. Must not
import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchkeeper.handler.metric import Dimension, Metric, MetricTypes
from torchkeeper.handler.recorder import Recorder


class MetricsStore(Recorder):
    """Recorder whose numbers stand in `store`, the last one of each name and labels, as Metric objects.

    Args:
        request_ids: the batch's ids, index -> id, or one id of any kind; None for none.
        model_name: value of the label ModelName.
    """

    def __init__(self, request_ids: Any, model_name: str) -> None:
        super().__init__(model_name)
        mapping = request_ids is None or isinstance(request_ids, dict)
        self.request_ids = request_ids if mapping else str(request_ids)
        self._kept: dict[tuple[str, ...], Metric] = {}

    def _add(
        self,
        name: str,
        value: float,
        unit: str,
        request_id: str | None,
        labels: Sequence[Dimension],
        metric_type: MetricTypes,
    ) -> None:
        super()._add(name, value, unit, request_id, labels, metric_type)
        key = (name, unit, str(request_id), *map(str, labels))
        if key in self._kept:
            self._kept[key].value = value
        else:
            self._kept[key] = Metric(name, value, unit, labels, request_id)
            self.store.append(self._kept[key])
