"""docs/metrics.md and the Grafana dashboard against a real page of a server's metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.metrics.catalogue import read_catalogue
from torchkeeper.metrics.front import Metrics
from torchkeeper.metrics.instruments import OWN
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.metrics.text import render
from torchkeeper.wire.messages import Sample

DOCS = Path(__file__).parents[1] / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "torchkeeper.json").read_text())
#: Words of PromQL and Grafana that are no metrics.
WORDS = frozenset(["sum", "avg", "max", "rate", "increase", "histogram_quantile", "label_values", "by", "on"])


class NoFiles:
    """Log files that nobody reads."""

    lost: Mapping[str, int] = {}

    def ts_metric(self, sample: Sample, hostname: str) -> None: ...

    def model_metric(self, sample: Sample, hostname: str) -> None: ...

    def model_line(self, worker: str, stream: str, line: str) -> None: ...


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a server that has done everything once; GPU metrics have no samples here."""
    settings, _ = load_settings(CommandLine(), {}, tmp_path_factory.mktemp("server"))
    metrics = Metrics(settings, NoFiles(), Ledger(), "vm")
    meter = metrics.meter("m", "1.0", 1)
    meter.accepted(False)
    meter.batch(1, 0.1, 0)
    meter.answered(False, [0.1], [0.2])
    return render(metrics.registry.exposed())


def queries(node: Any) -> Iterator[str]:
    """Every PromQL text of a dashboard."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("expr", "definition") if key in node)
        for value in node.values():
            yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


def names(query: str) -> set[str]:
    """The metrics that a query reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|label_values\(([^,]*),[^)]*\)", r" \1 ", query)
    return set(re.findall(r"[a-zA-Z_:]\w*", bare)) - WORDS


def test_the_dashboard_reads_metrics_that_exist(scrape: str) -> None:
    declared = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge)$", scrape, re.MULTILINE))
    sampled = set(re.findall(r"^(\w+)(?:\{|\s)", scrape, re.MULTILINE))
    found = list(queries(DASHBOARD))
    assert len(found) > 30
    for query in found:
        assert names(query), query
        assert names(query) <= declared | sampled, query


def test_the_dashboard_shows_every_metric() -> None:
    read = set().union(*(names(query) for query in queries(DASHBOARD)))
    catalogue = read_catalogue(None)
    all_names = [metric.name for metric in (*catalogue.ts, *catalogue.model)] + [own[0].name for own in OWN]
    assert not [name for name in all_names if not any(used.startswith(name) for used in read)]


def test_the_dashboards_labels_exist(scrape: str) -> None:
    text = "\n".join(queries(DASHBOARD))
    used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
    catalogue = read_catalogue(None)
    known = {"le", "Hostname"}
    for metric in (*catalogue.ts, *catalogue.model, *(own[0] for own in OWN)):
        known |= set(metric.dimensions)
    assert used <= known


def test_panels_have_their_own_places() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    rows = {}
    same = "the same"
    for line in (DOCS / "metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 4 and re.fullmatch(r"`\w+`", cells[0]):
            rows[cells[0].strip("`")] = cells[1:]
    catalogue = read_catalogue(None)
    expected = {}
    for metric in catalogue.ts:
        expected[metric.name] = [metric.kind, metric.unit, ", ".join(metric.dimensions)]
    for metric in catalogue.model:
        expected[metric.name] = [metric.kind, metric.unit, ", ".join((*metric.dimensions, "Hostname"))]
    for metric, _, _ in OWN:
        expected[metric.name] = [metric.kind, ", ".join(metric.dimensions)]
    assert set(rows) - {"legacy", "log", "prometheus"} == set(expected)
    for name, cells in expected.items():
        assert [cell for cell in rows[name][: len(cells)] if cell != same] == [
            cell for cell, shown in zip(cells, rows[name], strict=False) if shown != same
        ]
