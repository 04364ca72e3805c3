"""Nothing that the table of routes names is left without an answer or a description."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from api.calling import answer, call
from torchkeeper.api.about import ApiDescription
from torchkeeper.api.body import FormLimits
from torchkeeper.api.endpoints import ApiSettings, served
from torchkeeper.api.metrics import MetricsApi
from torchkeeper.api.routes import ROUTES, Endpoint
from torchkeeper.api.vertex import vertex_paths
from torchkeeper.errors import BadRequest
from torchkeeper.metrics.registry import Registry
from torchkeeper.serving.apis import Api

NOBODY = cast(Any, None)  # only called when somebody asks


VERTEX = {match.route.endpoint for match in vertex_paths("/health", "/predict").values()}


def handlers(tokens: Any, vertex_envelope: str | None = "json") -> set[Endpoint]:
    found = served(
        *(NOBODY, NOBODY, NOBODY, tokens, MetricsApi(Registry("off"), openmetrics=False)),
        ApiSettings(max_request_size=1, vertex_envelope=vertex_envelope),
    )
    return {*found, *ApiDescription(Api.INFERENCE, NOBODY).endpoints()}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.endpoint.name} {route.pattern}")
def test_every_route_has_an_answer(route: Any) -> None:
    assert route.endpoint in handlers(tokens=object())


def test_every_endpoint_has_a_route() -> None:
    assert {route.endpoint for route in ROUTES} | VERTEX == set(Endpoint)


def test_without_tokens_there_are_none_to_renew() -> None:
    assert set(Endpoint) - handlers(tokens=None) == {Endpoint.TOKEN}


def test_elsewhere_nothing_is_served_for_vertex_ai() -> None:
    assert set(Endpoint) - handlers(object(), None) == VERTEX


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/token"), ("PUT", "/models/m"), ("GET", "/predictions/m")]
)
def test_a_query_has_as_many_fields_as_the_settings_let_it(method: str, path: str) -> None:
    found = served(
        *(NOBODY, NOBODY, NOBODY, cast(Any, object()), MetricsApi(Registry("off"))),
        ApiSettings(max_request_size=1000, forms=FormLimits(1, 1)),
    )
    asked = call(method, f"{path}?a=1&b=2", apis=Api.MANAGEMENT | Api.INFERENCE)
    with pytest.raises(BadRequest, match="more than 1 fields"):
        asyncio.run(answer(found, asked))
