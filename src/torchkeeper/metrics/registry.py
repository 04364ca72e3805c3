"""All metrics of the front by name, and for each set of labels its cell.

What is shown on /metrics and what goes to the log files is decided here, once, by the metrics mode. Also a
collector in prometheus-client's sense, which writes the OpenMetrics form from it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import Metric

from torchkeeper.metrics.cell import DEFAULT_BOUNDS, Cell, Counter, Gauge, Histogram
from torchkeeper.wire.messages import Declared

logger = logging.getLogger(__name__)

#: The only metrics on /metrics in the legacy mode.
LEGACY = frozenset(
    ("ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds")
)
#: Sets of labels per metric: a handler that labels by request id must not fill the memory.
MAX_CELLS = 10_000
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


class Family:
    """A metric: its declaration and its cells.

    Args:
        declared: name, type, unit and labels.
        text: the HELP text.
        bounds: a histogram's upper bounds.
        zeros: whether counters and histograms are shown before their first update.
    """

    def __init__(
        self,
        declared: Declared,
        text: str,
        bounds: tuple[float, ...] = DEFAULT_BOUNDS,
        zeros: bool = False,
    ) -> None:
        self.name = declared.name
        self.kind = declared.kind
        self.unit = declared.unit
        self.labels = declared.dimensions
        self.text = text
        self.exposed = True
        self.logged = False
        self._bounds = bounds
        self._zeros = zeros
        self._cells: dict[tuple[str, ...], Cell] = {}

    def cell(self, values: tuple[str, ...]) -> Cell | None:
        """The cell of these label values, in the order of the labels; None if there are too many."""
        found = self._cells.get(values)
        if found is None and len(self._cells) < MAX_CELLS:
            found = self._cells[values] = self._new()
            if len(self._cells) == MAX_CELLS:
                logger.warning("metric %s has %d sets of labels; no more are taken", self.name, MAX_CELLS)
        return found

    def drop(self, values: tuple[str, ...]) -> None:
        """Forgets a cell."""
        self._cells.pop(values, None)

    def cells(self) -> list[tuple[tuple[str, ...], Cell]]:
        """All cells with their label values."""
        return list(self._cells.items())

    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """(name, labels, value) of every line, as TorchServe orders them."""
        for values, cell in self._cells.items():
            labels = tuple(zip(self.labels, values, strict=True))
            for suffix, bound, value in cell.points(self._zeros):
                yield self.name + suffix, (*labels, ("le", bound)) if bound else labels, value

    def _new(self) -> Cell:
        if self.kind == "histogram":
            return Histogram(self._bounds)
        return Counter() if self.kind == "counter" else Gauge()


class Registry:
    """The metrics, in the order in which they were added.

    Args:
        mode: the setting metrics_mode, or `off`: nothing is shown or logged.
    """

    def __init__(self, mode: str = "log") -> None:
        self._mode = mode
        self._families: dict[str, Family] = {}
        self._refreshers: list[Callable[[], None]] = []

    def add(self, family: Family, *, logged: bool) -> Family:
        """Takes a metric, unless one of that name is there: then that one is returned.

        Args:
            family: the metric.
            logged: whether its numbers belong into the metrics log files, where the mode writes any.
        """
        known = self._families.get(family.name)
        if known is not None:
            return known
        for_scrapes_only = family.name in LEGACY
        family.exposed = {"off": False, "legacy": for_scrapes_only}.get(self._mode, True)
        not_logged = {"off": True, "prometheus": True, "legacy": for_scrapes_only}.get(self._mode, False)
        family.logged = logged and not not_logged
        wrong = [label for label in family.labels if not _LABEL.fullmatch(label)]
        if family.exposed and (wrong or not _NAME.fullmatch(family.name)):
            family.exposed = False
            logger.warning(
                "metric %r is not shown on /metrics: Prometheus allows letters, digits and _ in names",
                wrong[0] if wrong else family.name,
            )
        self._families[family.name] = family
        return family

    def get(self, name: str) -> Family | None:
        """A metric by its name."""
        return self._families.get(name)

    def refresh(self, callback: Callable[[], None]) -> None:
        """Has `callback` bring its cells up to date before every look at them."""
        self._refreshers.append(callback)

    def logged(self) -> list[Family]:
        """The metrics whose numbers go to log files."""
        return [family for family in self._families.values() if family.logged]

    def exposed(self) -> list[Family]:
        """The metrics of /metrics, up to date."""
        for callback in self._refreshers:
            callback()
        return [family for family in self._families.values() if family.exposed]

    # --- a collector of prometheus-client ----------------------------------------------------------------

    def describe(self) -> list[Metric]:
        """Nothing: metrics may come at any time."""
        return []

    def collect(self) -> list[Metric]:
        """All metrics in prometheus-client's classes."""
        return [as_metric(family) for family in self.exposed()]


def as_metric(family: Family, names: Sequence[str] = ()) -> Metric:
    """A metric in prometheus-client's classes; a counter's samples end in _total, as OpenMetrics asks.

    Args:
        family: the metric.
        names: without samples unless the metric or one of its samples is named; empty: with all.
    """
    base = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    metric = Metric(base, family.text, family.kind)
    samples = list(family.samples())
    # OpenMetrics knows no parts of a histogram, so that one name takes all of it.
    if not names or family.name in names or any(name in names for name, _, _ in samples):
        for name, labels, value in samples:
            metric.add_sample(f"{base}_total" if family.kind == "counter" else name, dict(labels), value)
    return metric
