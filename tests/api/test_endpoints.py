"""Nothing that the table of routes names is left without an answer or a description."""

from __future__ import annotations

from typing import Any, cast

import pytest

from torchkeeper.api.about import ApiDescription
from torchkeeper.api.endpoints import ApiSettings, served
from torchkeeper.api.metrics import MetricsApi
from torchkeeper.api.routes import ROUTES, Endpoint
from torchkeeper.api.vertex import vertex_paths
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
