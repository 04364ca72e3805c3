"""One metric and what it is made of: type, unit, labels.

Numbers become samples that ride with a batch's replies; nothing is printed or parsed. Must not import torch,
and knows nothing of Prometheus. Source of names, units and checks: TorchServe's `ts.metrics` modules.
"""

from __future__ import annotations

import abc
import enum
import json
import logging
import math
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torchkeeper.handler.safe_text import safe_str
from torchkeeper.wire.messages import Sample

logger = logging.getLogger(__name__)

#: Samples kept until somebody drains them; the oldest go first.
MAX_PENDING = 65_536


class MetricTypes(enum.Enum):
    """What a metric's numbers mean when they are added up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"

    __hash__ = object.__hash__  # a key for every number; what an enum has by itself is a function in Python


class Units:
    """Short names of units -> the names under which they are published."""

    def __init__(self) -> None:
        self.units: dict[str | None, str] = {
            "ms": "Milliseconds",
            "s": "Seconds",
            "percent": "Percent",
            "count": "Count",
            "MB": "Megabytes",
            "GB": "Gigabytes",
            "kB": "Kilobytes",
            "B": "Bytes",
            "": "unit",
            None: "unit",
        }


MetricUnit = Units()
_UNIT_NAMES = MetricUnit.units


class Dimension:
    """One label of a metric: a name and this number's value for it."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, Any]:
        """{"Name": name, "Value": value}."""
        return {"Name": self.name, "Value": self.value}


#: Where metrics that were made without a recorder put their samples; every recorder of the process drains it.
unowned: deque[Sample] = deque(maxlen=MAX_PENDING)


class MetricAbstract(abc.ABC):
    """One metric: a name, a unit and the names of its labels.

    Args:
        metric_name: as published.
        unit: ms, s, percent, count, MB, GB, kB, B, "", or any other text, which is published as it is.
        dimension_names: names of the labels, in the order of the values given later.
        metric_type: counter, gauge or histogram.
    """

    def __init__(
        self,
        metric_name: str,
        unit: str,
        dimension_names: list[str] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        self.metric_name = metric_name
        self.unit = _UNIT_NAMES.get(unit, unit)
        self.dimension_names = list(dimension_names or ())
        self.metric_type = metric_type

    @abc.abstractmethod
    def add_or_update(
        self, value: float, dimension_values: Sequence[Any], request_id: str | None = ""
    ) -> None:
        """Records a number."""


class CachingMetric(MetricAbstract):
    """A metric whose numbers go to the recorder that made it."""

    #: Where the numbers go.
    samples = unowned

    def add_or_update(
        self, value: float, dimension_values: Sequence[Any] = (), request_id: str | None = ""
    ) -> None:
        """Records a number; one that cannot be recorded is an error in the log and no exception.

        Args:
            value: a finite number; not negative for a counter.
            dimension_values: one value per dimension name.
            request_id: the request that the number belongs to; "" for none.
        """
        try:
            number = self._checked(value, dimension_values)
        except Exception as error:  # noqa: BLE001 - a value of the user's may raise anything
            logger.error(
                "Failed to update metric with name:%s and dimensions: %s with value: %s: %s",
                self.metric_name,
                safe_str(dimension_values),
                safe_str(value),
                safe_str(error),
            )
            return
        labels = zip(self.dimension_names, map(safe_str, dimension_values), strict=True)
        kind = self.metric_type.name
        self.samples.append(
            Sample(self.metric_name, number, self.unit, kind, tuple(labels), request_id or "")
        )

    def _checked(self, value: float, dimension_values: Sequence[Any] | None) -> float:
        if dimension_values is None or len(dimension_values) != len(self.dimension_names):
            raise ValueError(
                f"Dimension values: {dimension_values} should correspond to "
                f"Dimension names: {self.dimension_names}"
            )
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("a metric's value must be a finite number")
        if number < 0 and self.metric_type is MetricTypes.COUNTER:
            raise ValueError("Counter metric update value cannot be negative")
        return number

    def update(self, value: float, request_id: str | None = "", dimensions: Sequence[Dimension] = ()) -> None:
        """Older form of `add_or_update`: the dimensions given here replace the metric's own."""
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.add_or_update(value, [dimension.value for dimension in dimensions], request_id)


class Metric:
    """Oldest form of a metric: a counter with fixed dimensions, for one request.

    Args:
        name: as published.
        value: kept as attribute; `update` records numbers.
        unit: as for CachingMetric.
        dimensions: the labels.
        request_id: the request that the numbers belong to.
        metric_method: kept as attribute.
    """

    def __init__(
        self,
        name: str,
        value: float,
        unit: str,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        self.metric_type = MetricTypes.COUNTER
        self.dimensions = dimensions
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.dimension_values = [dimension.value for dimension in dimensions]
        self._caching_metric = CachingMetric(name, unit, self.dimension_names, self.metric_type)
        self.name = name
        self.unit = self._caching_metric.unit
        self.metric_method = metric_method
        self.value = value
        self.request_id = request_id

    def update(self, value: float) -> None:
        """Records a number."""
        self._caching_metric.add_or_update(value, self.dimension_values, self.request_id)

    def reset(self) -> None:
        """Records 0."""
        self.update(0)

    def __str__(self) -> str:
        labels = ",".join(str(dimension) for dimension in self.dimensions)
        request = f",{self.request_id}" if self.request_id else ""
        host = socket.gethostname()
        return f"{self.name}.{self.unit}:{self.value}|#{labels}|#hostname:{host},{int(time.time())}{request}"

    def to_dict(self) -> dict[str, Any]:
        """The metric's fields under TorchServe's names."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": self.dimensions,
            "Timestamp": int(time.time()),
            "HostName": socket.gethostname(),
            "RequestId": self.request_id,
        }


class MetricEncoder(json.JSONEncoder):
    """Writes Metric and Dimension objects as their dictionaries."""

    def default(self, obj: Any) -> Any:
        """The dictionary of an object that JSON does not know."""
        return obj.to_dict() if isinstance(obj, Metric | Dimension) else super().default(obj)


def emit_metrics(metrics: Iterable[Any]) -> None:
    """Records metrics of the oldest form, those of a list or the values of a dictionary, with what they hold.

    Texts are printed as a metric's: the server reads such lines of a worker's. What a recorder has recorded
    is on its way already, so its cache is passed over.
    """
    for metric in metrics.values() if isinstance(metrics, Mapping) else metrics or ():
        if isinstance(metric, Metric):
            labels = tuple((label.name, safe_str(label.value)) for label in metric.dimensions)
            request_id = metric.request_id or ""
            unowned.append(Sample(metric.name, float(metric.value), metric.unit, "GAUGE", labels, request_id))
        elif isinstance(metric, str):
            print(f"[METRICS]{metric}")
