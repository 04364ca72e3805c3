"""Takes in the numbers that handlers record, or print in the old text form, and finds their metric.

A number whose metric metrics.yaml does not declare is a line in the log and no more, unless auto-detection is
on: then the metric is added as the number describes it. Source of these rules: TorchServe's backend metrics.
"""

from __future__ import annotations

import logging
import time

import msgspec

from torchkeeper.metrics.cell import Cell
from torchkeeper.metrics.line import PREFIX, metric_line, parse_line
from torchkeeper.metrics.registry import Family, Registry
from torchkeeper.wire.messages import Declared, Sample

logger = logging.getLogger(__name__)

HOSTNAME = "Hostname"
#: Metrics that auto-detection takes at most.
MAX_DETECTED = 1_000
#: Combinations of name and labels that are remembered.
_MAX_BOUND = 20_000


class Intake:
    """Where handlers' numbers go.

    Args:
        registry: holds the declared metrics.
        declared: handlers' metrics of metrics.yaml.
        hostname: value of the label Hostname, which every metric of a handler gets.
        detect: the setting model_metrics_auto_detect.
        told: whether numbers that no metric takes are told in the log.
    """

    def __init__(
        self,
        registry: Registry,
        declared: tuple[Declared, ...],
        hostname: str,
        *,
        detect: bool,
        told: bool = True,
    ) -> None:
        self._registry = registry
        self._hostname = hostname
        self._told = told
        self._room = MAX_DETECTED if detect else 0
        self._families: dict[str, Family] = {}
        self._bound: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Family, Cell | None] | None] = {}
        for metric in declared:
            self._add(metric)

    def sample(self, sample: Sample) -> Sample | None:
        """Enters a number; returns what belongs into model_metrics.log, None if nothing does."""
        key = (sample.name, sample.dimensions)
        if key in self._bound:
            bound = self._bound[key]
        else:
            bound = self._bind(sample)
            if len(self._bound) < _MAX_BOUND:
                self._bound[key] = bound
        if bound is None:
            self._tell(sample)
            return None
        family, cell = bound
        if family.kind == "counter" and sample.value < 0:
            logger.error("Failed to update backend metric %s: a counter cannot fall", sample.name)
            return None
        if cell is not None:
            cell.update(sample.value)
        if not family.logged:
            return None
        return sample if sample.unit == family.unit else msgspec.structs.replace(sample, unit=family.unit)

    def line(self, line: str) -> Sample | None:
        """The same for a printed line that begins with [METRICS]; one that cannot be read is an error."""
        sample = parse_line(line)
        if sample is None:
            logger.error('Failed to parse metrics line: "%s".', line)
            return None
        return self.sample(sample)

    def _tell(self, sample: Sample) -> None:
        """A log line as TorchServe has one of every number; scripts and people read them."""
        if self._told and logger.isEnabledFor(logging.INFO):
            line = metric_line(sample, self._hostname, time.time())
            logger.info("result=%s, pattern=%s", line, PREFIX)

    def _bind(self, sample: Sample) -> tuple[Family, Cell | None] | None:
        family = self._families.get(sample.name) or self._detect(sample)
        if family is None:
            return None
        wanted = family.labels[:-1]
        given = dict(sample.dimensions)
        values: tuple[str, ...]
        if set(wanted) == set(given):
            values = tuple(given[label] for label in wanted)
        elif len(wanted) == len(sample.dimensions):
            values = tuple(value for _, value in sample.dimensions)
        else:
            logger.error(
                "Failed to update backend metric %s: it has the dimensions %s, not %s",
                sample.name,
                list(wanted),
                list(given),
            )
            return None
        return family, family.cell((*values, self._hostname))

    def _detect(self, sample: Sample) -> Family | None:
        if self._room <= 0:
            return None
        self._room -= 1
        logger.info("Registering auto detected backend metric: %s", sample.name)
        labels = tuple(label for label, _ in sample.dimensions)
        return self._add(Declared(sample.name, sample.type.lower(), sample.unit, labels))

    def _add(self, metric: Declared) -> Family | None:
        if self._registry.get(metric.name) is not None:
            logger.warning("metric %s is the server's own; handlers' numbers of it are dropped", metric.name)
            return None
        labels = tuple(label for label in metric.dimensions if label != HOSTNAME)
        family = Family(msgspec.structs.replace(metric, dimensions=(*labels, HOSTNAME)), help_text(metric))
        self._families[metric.name] = self._registry.add(family, logged=True)
        return self._families[metric.name]


def help_text(metric: Declared) -> str:
    """TorchServe's HELP text."""
    return f"Torchserve prometheus {metric.kind} metric with unit: {metric.unit}"
