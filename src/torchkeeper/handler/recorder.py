"""What a handler holds to record numbers: `context.metrics`.

Adds the model's labels and the batch's request ids to what the handler says; the samples wait here until the
worker drains them into its reply. Must not import torch. Source of names and checks: TorchServe's metrics
cache; the caller's list of dimensions is never changed, where TorchServe appends to it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torchkeeper.handler.metric import MAX_PENDING, CachingMetric, Dimension, Metric, MetricTypes, unowned
from torchkeeper.handler.metric_errors import (
    MetricsCacheKeyError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from torchkeeper.wire.messages import Declared, Sample

TIME_UNITS = ("ms", "s")
SIZE_UNITS = ("MB", "kB", "GB", "B")
#: The name of the time that a handler took for a batch.
PREDICTION_METRIC = "PredictionTime"

_OF_A_MODEL = Dimension("Level", "Model")
_OF_AN_ERROR = Dimension("Level", "Error")


class Recorder:
    """What `context.metrics` is: records numbers under names, with the model's labels added.

    Args:
        model_name: value of the label ModelName.
    """

    def __init__(self, model_name: str | None = None) -> None:
        self.model_name = model_name
        #: The batch's ids: index -> id, or all of them joined by commas.
        self.request_ids: Mapping[int, str] | str | None = None
        self.cache: dict[MetricTypes, dict[str, CachingMetric]] = {}
        #: Metrics of the oldest form; empty, but in a MetricsStore.
        self.store: list[Metric] = []
        self._samples: deque[Sample] = deque(maxlen=MAX_PENDING)

    def drain(self) -> list[Sample]:
        """The numbers recorded since the last call, oldest first."""
        samples = [*self._samples, *unowned]
        self._samples.clear()
        unowned.clear()
        return samples

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[None]:
        """What is recorded meanwhile is forgotten; what was recorded before is kept."""
        kept = self.drain()
        try:
            yield
        finally:
            self.drain()
            self._samples.extend(kept)

    def set_request_ids(self, request_ids: Mapping[int, str] | str | None) -> None:
        """The ids of the batch that the next numbers belong to."""
        self.request_ids = request_ids

    def initialize_cache(self) -> None:
        """Declares the metrics known beforehand; a plain recorder knows none."""

    def declare(self, metrics: Iterable[Declared]) -> None:
        """Makes metrics known beforehand, with units and labels of their own."""
        for metric in metrics:
            kind = MetricTypes(metric.kind)
            self.add_metric_to_cache(metric.name, metric.unit, list(metric.dimensions), kind)

    def cache_keys(self) -> list[str]:
        """`type:name` of every metric known so far."""
        return [f"{kind.value}:{name}" for kind, metrics in self.cache.items() for name in metrics]

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str,
        idx: int | None = None,
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        """Records a number of any kind.

        Args:
            name: as published.
            value: a finite number.
            unit: as for CachingMetric.
            idx: place in the batch of the request it belongs to; None means all of the batch.
            dimensions: labels besides ModelName and Level; without ids Level is Error, alone.
            metric_type: counter unless given.
        """
        self._add(name, value, unit, self._request(idx), self._labelled(dimensions), metric_type)

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] = ()
    ) -> None:
        """Adds to a counter (not negative)."""
        self.add_metric(name, value, "count", idx, dimensions, MetricTypes.COUNTER)

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Records a duration, in ms or s.

        Raises:
            MetricsCacheValueError: another unit.
        """
        if unit not in TIME_UNITS:
            raise MetricsCacheValueError(f"the unit for a timed metric should be one of {list(TIME_UNITS)}")
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Records a size, in MB, kB, GB or B.

        Raises:
            ValueError: another unit.
        """
        if unit not in SIZE_UNITS:
            raise ValueError("The unit for size based metric is one of ['MB','kB', 'GB', 'B']")
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Records a share of a hundred."""
        self.add_metric(name, value, "percent", idx, dimensions, metric_type)

    def add_error(self, name: str, value: float, dimensions: Sequence[Dimension] = ()) -> None:
        """Adds to a counter of errors (label Level=Error, no ModelName)."""
        labels = _with(dimensions, _OF_AN_ERROR)
        self._add(name, value, "", None, labels, MetricTypes.COUNTER)

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> CachingMetric:
        """Makes a metric (or makes it anew) whose numbers come with all labels given by the caller.

        Raises:
            MetricsCacheTypeError: name or unit is no text, names are no list, or the type no MetricTypes.
        """
        _check(metric_name, str, "`metric_name` must be a str")
        _check(unit, str, "`unit` must be a str")
        _check(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        if dimension_names:
            _check(dimension_names, list, "`dimension_names` should be a list of dimension name strings")
        metric = CachingMetric(metric_name, unit, list(dimension_names or ()), metric_type)
        metric.samples = self._samples
        self.cache.setdefault(metric_type, {})[metric_name] = metric
        return metric

    def get_metric(self, metric_name: str, metric_type: MetricTypes = MetricTypes.COUNTER) -> CachingMetric:
        """A metric that exists.

        Raises:
            MetricsCacheKeyError: there is none of that type and name.
        """
        _check(metric_name, str, "`metric_name` must be a str")
        _check(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        metric = self.cache.get(metric_type, {}).get(metric_name)
        if metric is None:
            raise MetricsCacheKeyError(
                f"Metric of type '{metric_type}' and name '{metric_name}' doesn't exist"
            )
        return metric

    def _request(self, idx: int | None) -> str:
        ids = self.request_ids
        if ids is None or isinstance(ids, str):
            return ids or ""
        return ids[idx] if idx is not None and idx in ids else ",".join(ids.values())

    def _labelled(self, dimensions: Sequence[Dimension]) -> Sequence[Dimension]:
        if self.request_ids is None:  # no batch, and no model that loads
            return _with(dimensions, _OF_AN_ERROR)
        own = Dimension("ModelName", self.model_name), _OF_A_MODEL
        return _with(dimensions, *own) if dimensions else own

    def _add(
        self,
        name: str,
        value: float,
        unit: str,
        request_id: str | None,
        labels: Sequence[Dimension],
        metric_type: MetricTypes,
    ) -> None:
        metric = self.cache.get(metric_type, {}).get(name)
        if metric is None:
            names = [label.name for label in labels]
            metric = self.add_metric_to_cache(name, unit, names, metric_type)
        metric.add_or_update(value, [label.value for label in labels], request_id)


def _with(dimensions: Sequence[Dimension] | None, *defaults: Dimension) -> list[Dimension]:
    """The caller's dimensions in a list of our own, and those defaults that it does not name."""
    dimensions = dimensions or ()
    named = {dimension.name for dimension in dimensions}
    return [*dimensions, *(default for default in defaults if default.name not in named)]


def _check(value: Any, expected: type, text: str) -> None:
    if not isinstance(value, expected):
        raise MetricsCacheTypeError(text)
