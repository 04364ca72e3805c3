"""GET /metrics: forms and filters."""

from __future__ import annotations

import asyncio

import pytest
from calling import answer, call  # type: ignore[import-not-found]  # pytest puts this folder on the path
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from torchkeeper.api.body import USUAL, FormLimits
from torchkeeper.api.metrics import MetricsApi
from torchkeeper.errors import BadRequest
from torchkeeper.metrics.registry import Family, Registry
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Declared

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    for name, kind in (("Requests2XX", "counter"), ("ts_total", "counter"), ("Wait", "histogram")):
        cell = registry.add(Family(Declared(name, kind, "s", ("Level",)), "text"), logged=False).cell(
            ("Host",)
        )
        assert cell is not None
        cell.update(2)
    return registry


def test_the_form_is_torchserves_whatever_prometheus_asks_for(registry: Registry) -> None:
    body, content_type = MetricsApi(registry).render(accept=ACCEPT)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert 'Requests2XX{Level="Host",} 2.0\n' in body.decode()
    body, _ = MetricsApi(registry).render(["ts_total"], ACCEPT)
    assert body.decode().splitlines()[1:] == ["# TYPE ts_total counter", 'ts_total{Level="Host",} 2.0']


def test_openmetrics_by_setting_and_accept_header(registry: Registry) -> None:
    api = MetricsApi(registry, openmetrics=True)
    assert api.render(accept="text/plain")[1].startswith("text/plain")
    body, content_type = api.render(accept=ACCEPT)
    assert content_type.startswith("application/openmetrics-text")
    found = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert set(found) == {"Requests2XX", "ts", "Wait"}
    assert [sample.name for sample in found["Requests2XX"].samples] == ["Requests2XX_total"]
    assert [sample.name for sample in found["ts"].samples] == ["ts_total"]
    assert found["Wait"].samples[-1].value == 2


@pytest.mark.parametrize(
    ("names", "expected"), [(["Wait_sum", "ts_total"], {"ts", "Wait"}), (["none"], set())]
)
def test_openmetrics_of_some_names(registry: Registry, names: list[str], expected: set[str]) -> None:
    body, _ = MetricsApi(registry, openmetrics=True).render(names, ACCEPT)
    assert {family.name for family in text_string_to_metric_families(body.decode())} == expected


def page(registry: Registry, query: str) -> set[str]:
    """The metrics on the page that a query asks for."""
    asked = call("GET", f"/metrics?{query}", apis=Api.METRICS)
    found = asyncio.run(answer(MetricsApi(registry).endpoints(), asked))
    return {line.split()[2] for line in found.body.decode().splitlines() if line.startswith("# TYPE")}


def test_the_query_picks_metrics(registry: Registry) -> None:
    every = {"Requests2XX", "ts_total", "Wait"}
    assert page(registry, "name%5B%5D=Wait&x=1&name[]=ts_total") == {"Wait", "ts_total"}
    assert page(registry, "name[]=") == page(registry, "name=Wait") == every


def test_too_many_fields_are_the_clients_fault(registry: Registry) -> None:
    with pytest.raises(BadRequest, match="fields"):
        page(registry, "&" * USUAL.fields)
    asked = call("GET", "/metrics?a=1&b=2", apis=Api.METRICS)
    with pytest.raises(BadRequest, match="more than 1 fields"):
        asyncio.run(answer(MetricsApi(registry, forms=FormLimits(1, 1)).endpoints(), asked))
