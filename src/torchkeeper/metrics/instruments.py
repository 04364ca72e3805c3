"""What the server measures of itself: the API layer and the dispatchers call it with plain numbers.

The cells of a model version are bound once, so that a request costs a few additions. Names and meanings are
TorchServe's where it has the metric; what is new begins with `torchkeeper_`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torchkeeper.metrics.cell import Cell, Gauge
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.metrics.registry import Family, Registry
from torchkeeper.wire.messages import Declared

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
EVENTS = ("accepted", "answered", "refused", "failed", "gone")
#: Where log lines can be lost.
PLACES = ("queue", "disk", "stdout")
#: The share of a new batch in the moving average of the fill.
_FILL_WEIGHT = 1 / 16

_VERSION = ("model_name", "model_version")
#: What a batching policy has learned, by its own names.
LEARNED = {
    "fixed": "torchkeeper_batch_fixed_seconds",
    "each": "torchkeeper_batch_each_seconds",
    "wait": "torchkeeper_batch_wait_seconds",
    "concurrency": "torchkeeper_batch_concurrency",
}

#: The metrics that TorchServe does not have: declaration, HELP text, bounds of a histogram.
OWN: tuple[tuple[Declared, str, tuple[float, ...]], ...] = (
    (
        Declared("torchkeeper_queue_seconds", "histogram", "s", _VERSION),
        "Seconds that requests waited for a worker",
        SECONDS,
    ),
    (
        Declared("torchkeeper_handler_seconds", "histogram", "s", _VERSION),
        "Seconds that a worker took for a batch, the handler in it",
        SECONDS,
    ),
    (
        Declared("torchkeeper_request_seconds", "histogram", "s", _VERSION),
        "Seconds from a request's arrival in the queue to its answer",
        SECONDS,
    ),
    (
        Declared("torchkeeper_batch_size", "histogram", "count", _VERSION),
        "Requests per batch",
        SIZES,
    ),
    (
        Declared("torchkeeper_batch_fill", "gauge", "ratio", _VERSION),
        "Requests per batch over batchSize, moving average of about the last 16 batches",
        (),
    ),
    (
        Declared("torchkeeper_batch_fixed_seconds", "gauge", "s", _VERSION),
        "Seconds that any batch costs, as batchPolicy adaptive has learned it",
        (),
    ),
    (
        Declared("torchkeeper_batch_each_seconds", "gauge", "s", _VERSION),
        "Seconds that each request of a batch costs beyond those, as it has learned it",
        (),
    ),
    (
        Declared("torchkeeper_batch_wait_seconds", "gauge", "s", _VERSION),
        "Seconds that a worker was kept waiting for more requests, moving average of about 16 batches",
        (),
    ),
    (
        Declared("torchkeeper_batch_concurrency", "gauge", "count", _VERSION),
        "Requests that were here at once, waiting or in hand, moving average of about 16 batches",
        (),
    ),
    (
        Declared("torchkeeper_queue_depth", "gauge", "count", _VERSION),
        "Requests that wait for a worker now",
        (),
    ),
    (
        Declared("torchkeeper_worker_growth_bytes", "gauge", "B", _VERSION),
        "Bytes by which the memory of the worker that grows most does so per request",
        (),
    ),
    (
        Declared("torchkeeper_worker_restarts", "counter", "count", _VERSION),
        "Worker processes that were lost and replaced",
        (),
    ),
    (
        Declared("torchkeeper_uncompiled_calls", "counter", "count", _VERSION),
        "Calls of models compiled by execution.aot or execution.compile that ran uncompiled",
        (),
    ),
    (
        Declared("torchkeeper_requests", "counter", "count", ("event",)),
        "Requests of all APIs: accepted = answered + refused + failed + gone, when idle",
        (),
    ),
    (
        Declared("torchkeeper_event_loop_lag_seconds", "gauge", "s", ()),
        "Largest delay of the server's event loop in the last 15 seconds",
        (),
    ),
    (
        Declared("torchkeeper_log_lines_lost", "counter", "count", ("where",)),
        "Log lines that were lost: too many waited (queue), or no file (disk) or nobody (stdout) took them",
        (),
    ),
)


class Watched(NamedTuple):
    """What a version is asked whenever somebody reads its metrics."""

    #: How many requests wait.
    depth: Callable[[], int]
    #: Bytes by which the memory of the worker that grows most does so per request; None: nobody knows.
    growth: Callable[[], float | None]
    #: What the batching policy has learned, by the names in `LEARNED`.
    learned: Callable[[], Mapping[str, float]]


class Meter:
    """What is measured of one model version; nothing by this one itself."""

    def accepted(self, named: bool) -> None:
        """A request was queued; `named`: its URL named the version."""

    def answered(self, named: bool, queued: Sequence[float], totals: Sequence[float]) -> None:
        """Requests were answered by a handler, at least one; seconds of each in the queue, and in all."""

    def streamed(self) -> None:
        """What was last answered had been sent in parts, its status long before."""

    def batch(self, size: int, handler: float, overhead: float, uncompiled: int = 0) -> None:
        """A batch came back; seconds that the handler took, and that the worker took beyond it.

        Args:
            uncompiled: calls of a compiled model that ran uncompiled.
        """

    def loaded(self, worker: str, seconds: float) -> None:
        """A worker has loaded the model."""

    def lost(self, worker: str, replaced: bool) -> None:
        """A worker's process ended."""

    def watch(
        self,
        depth: Callable[[], int],
        growth: Callable[[], float | None],
        learned: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Names the functions that tell how many requests wait, and how workers grow per request."""

    def close(self) -> None:
        """The version is no longer served: its gauges go, its counters stay."""


class Instruments:
    """The server's own metrics.

    Args:
        registry: holds the metrics that metrics.yaml declares; those it lacks are not measured.
        hostname: value of the label of that name.
        ledger: the counts of requests.
        flush: called after rare events, whose numbers would be gone before they are written.
        changed: called when numbers came after their response's status.
        lines_lost: the log lines that were lost so far, by place.
    """

    def __init__(
        self,
        registry: Registry,
        hostname: str,
        ledger: Ledger,
        flush: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
        lines_lost: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._registry = registry
        self._known = {"Level": "Host", "Hostname": hostname, "hostname": hostname}
        self._ledger = ledger
        for declared, text, bounds in OWN:
            registry.add(Family(declared, text, bounds, zeros=True), logged=False)
        self._by_hundred = {2: self.bind("Requests2XX").update, 4: self.bind("Requests4XX").update}
        self._other = self.bind("Requests5XX").update
        self._events = [self.bind("torchkeeper_requests", event=event) for event in EVENTS]
        self._entered = [0] * len(EVENTS)
        self._lines_lost = lines_lost
        self._lines = {place: self.bind("torchkeeper_log_lines_lost", where=place) for place in PLACES}
        self._lines_entered = dict.fromkeys(PLACES, 0)
        self.lag = self.bind("torchkeeper_event_loop_lag_seconds").update
        self._watched: dict[tuple[str, str], Watched] = {}
        self.flush = flush
        self.changed = changed
        registry.refresh(self._refresh)

    def responded(self, status: int) -> None:
        """A response was sent on any of the APIs; what is neither 2xx nor 4xx counts as 5XX."""
        self._by_hundred.get(status // 100, self._other)(1.0)

    def meter(self, name: str, version: str, batch_size: int) -> VersionMeter:
        """What measures a model version."""
        return VersionMeter(self, name, version, batch_size)

    def bind(self, name: str, **labels: str) -> Cell:
        """The cell of a metric; one that nobody sees if metrics.yaml does not declare the metric."""
        family = self._registry.get(name)
        if family is None:
            return Gauge()
        known = self._known | labels
        return family.cell(tuple(known.get(label, "") for label in family.labels)) or Gauge()

    def drop(self, name: str, **labels: str) -> None:
        """Forgets such a cell."""
        family = self._registry.get(name)
        if family is not None:
            known = self._known | labels
            family.drop(tuple(known.get(label, "") for label in family.labels))

    def watch(self, version: tuple[str, str], watched: Watched) -> None:
        """Names what is asked of a version whenever somebody reads."""
        self._watched[version] = watched

    def unwatch(self, version: tuple[str, str], depth: Callable[[], int] | None) -> bool:
        """Forgets those functions and says so, unless the version has come anew and has others."""
        watched = self._watched.get(version)
        ours = watched is not None and watched.depth is depth
        if ours:
            del self._watched[version]
        return ours

    def _refresh(self) -> None:
        for place, event in enumerate(EVENTS):
            count = getattr(self._ledger, event)
            self._events[place].update(float(count - self._entered[place]))
            self._entered[place] = count
        for where, count in self._lines_lost().items():
            self._lines[where].update(float(count - self._lines_entered[where]))
            self._lines_entered[where] = count
        for (name, version), (depth, growth, learned) in self._watched.items():
            labels = {"model_name": name, "model_version": version}
            self.bind("torchkeeper_queue_depth", **labels).update(depth())
            if (grown := growth()) is not None:
                self.bind("torchkeeper_worker_growth_bytes", **labels).update(grown)
            else:  # that of a worker which is gone says nothing
                self.drop("torchkeeper_worker_growth_bytes", **labels)
            known = learned()
            for what, metric in LEARNED.items():
                if what in known:
                    self.bind(metric, **labels).update(known[what])


class VersionMeter(Meter):
    """What is measured of one model version, on the server's instruments."""

    def __init__(self, instruments: Instruments, name: str, version: str, batch_size: int) -> None:
        self._instruments = instruments
        self._version = {"model_name": name, "model_version": version}
        self._key = (name, version)
        self._depth: Callable[[], int] | None = None
        self._batch_limit = batch_size
        self._fill: float | None = None
        own = self._own
        self._queue_seconds = own("torchkeeper_queue_seconds")
        self._request_seconds = own("torchkeeper_request_seconds")
        self._handler_seconds = own("torchkeeper_handler_seconds").update
        self._batch_size = own("torchkeeper_batch_size").update
        self._batch_fill = own("torchkeeper_batch_fill").update
        self._restarts = own("torchkeeper_worker_restarts").update
        self._uncompiled = own("torchkeeper_uncompiled_calls").update
        self._queue_time = instruments.bind("QueueTime")
        self._thread_time = instruments.bind("WorkerThreadTime").update
        #: For requests without and with a version in their URL: TorchServe labels the former `default`.
        self._labelled = tuple(self._three(label) for label in ("default", version))

    def accepted(self, named: bool) -> None:
        """A request was queued; `named`: its URL named the version."""
        self._labelled[named][0].update(1.0)

    def answered(self, named: bool, queued: Sequence[float], totals: Sequence[float]) -> None:
        """Requests were answered by a handler, at least one; seconds of each in the queue, and in all."""
        _, latency, waited = self._labelled[named]
        latency.update_all([seconds * 1e6 for seconds in totals])
        waited.update_all([seconds * 1e6 for seconds in queued])
        # Whole milliseconds, as TorchServe has it.
        self._queue_time.update_all([float(int(seconds * 1000)) for seconds in queued])
        self._queue_seconds.update_all(queued)
        self._request_seconds.update_all(totals)

    def streamed(self) -> None:
        """What was last answered had been sent in parts, its status long before."""
        self._instruments.changed()

    def batch(self, size: int, handler: float, overhead: float, uncompiled: int = 0) -> None:
        """A batch came back; seconds that the handler took, and that the worker took beyond it."""
        if uncompiled:
            self._uncompiled(float(uncompiled))
        self._batch_size(size)
        self._handler_seconds(handler)
        self._thread_time(float(int(overhead * 1000)))
        fill = size / self._batch_limit
        self._fill = fill if self._fill is None else self._fill + (fill - self._fill) * _FILL_WEIGHT
        self._batch_fill(self._fill)

    def loaded(self, worker: str, seconds: float) -> None:
        """A worker has loaded the model."""
        cell = self._instruments.bind("WorkerLoadTime", WorkerName=worker)
        cell.update(float(int(seconds * 1000)))
        self._instruments.flush()

    def lost(self, worker: str, replaced: bool) -> None:
        """A worker's process ended: its load time goes, for its successor has another name."""
        self._instruments.drop("WorkerLoadTime", WorkerName=worker)
        if replaced:
            self._restarts(1.0)

    def watch(
        self,
        depth: Callable[[], int],
        growth: Callable[[], float | None],
        learned: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Names the functions that tell how many requests wait, and how workers grow per request."""
        self._depth = depth
        self._instruments.watch(self._key, Watched(depth, growth, learned))

    def close(self) -> None:
        """The version is no longer served: its gauges go, its counters stay."""
        if not self._instruments.unwatch(self._key, self._depth):
            return
        gauges = ("torchkeeper_queue_depth", "torchkeeper_batch_fill", "torchkeeper_worker_growth_bytes")
        for name in (*gauges, *LEARNED.values()):
            self._instruments.drop(name, **self._version)

    def _own(self, name: str) -> Cell:
        return self._instruments.bind(name, **self._version)

    def _three(self, label: str) -> tuple[Cell, ...]:
        labels = {**self._version, "model_version": label}
        names = ("ts_inference_requests_total", "ts_inference_latency_microseconds")
        return tuple(
            self._instruments.bind(name, **labels) for name in (*names, "ts_queue_latency_microseconds")
        )
