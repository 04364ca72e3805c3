"""The table of routes: what each path means, and what no path means."""

import pytest

from torchkeeper.errors import BadEscape, MethodNotAllowed, ResourceNotFound
from torchkeeper.http.router import Api, Endpoint, resolve
from torchkeeper.messages import Kind


@pytest.mark.parametrize(
    ("path", "endpoint", "kind", "named"),
    [
        (b"/ping", Endpoint.PING, Kind.PREDICT, (None, None, None)),
        (b"/ping/", Endpoint.PING, Kind.PREDICT, (None, None, None)),
        (b"/predictions/m", Endpoint.PREDICT, Kind.PREDICT, ("m", None, None)),
        (b"/predictions/m/1.0", Endpoint.PREDICT, Kind.PREDICT, ("m", "1.0", None)),
        (b"/predictions/m/1.0/v1/models", Endpoint.PREDICT, Kind.PREDICT, ("m", "1.0", "v1/models")),
        (b"/predictions/a%20b", Endpoint.PREDICT, Kind.PREDICT, ("a b", None, None)),
        (b"/predictions/predict", Endpoint.PREDICT, Kind.PREDICT, ("predict", None, None)),
        (b"/explanations/m", Endpoint.PREDICT, Kind.EXPLAIN, ("m", None, None)),
        (b"/explanations/m/2", Endpoint.PREDICT, Kind.EXPLAIN, ("m", "2", None)),
        (b"/invocations", Endpoint.INVOKE, Kind.PREDICT, (None, None, None)),
        (b"/models/m/invoke", Endpoint.PREDICT, Kind.PREDICT, ("m", None, None)),
        (b"/m/predict", Endpoint.PREDICT, Kind.PREDICT, ("m", None, None)),
        (b"/m/3/predict", Endpoint.PREDICT, Kind.PREDICT, ("m", "3", None)),
    ],
)
def test_routes(
    path: bytes, endpoint: Endpoint, kind: Kind, named: tuple[str | None, str | None, str | None]
) -> None:
    match = resolve(path, "POST", Api.INFERENCE)
    assert match.route.endpoint is endpoint
    assert match.route.kind is kind
    assert (match.model, match.version, match.url_path) == named


@pytest.mark.parametrize(
    "path",
    [b"/nothing", b"/predictions", b"/predictions//m", b"//ping", b"/Ping", b"/a/b/c", b"/predictions/m//"],
)
def test_what_is_no_route_is_not_found(path: bytes) -> None:
    with pytest.raises(ResourceNotFound):
        resolve(path, "GET", Api.INFERENCE)


def test_the_root_allows_no_method() -> None:
    with pytest.raises(MethodNotAllowed):
        resolve(b"/", "GET", Api.INFERENCE)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"/%zz", "invalid hex byte 'zz' at index 1 of '/%zz'"),
        (b"/a%4", "unterminated escape sequence at index 2 of: /a%4"),
    ],
)
def test_a_broken_escape_is_named(path: bytes, message: str) -> None:
    with pytest.raises(BadEscape) as raised:
        resolve(path, "GET", Api.INFERENCE)
    assert raised.value.message == message
    assert raised.value.status == 403


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "named"),
    [
        ("GET", b"/models", Endpoint.LIST, (None, None)),
        ("GET", b"/models/", Endpoint.LIST, (None, None)),
        ("POST", b"/models", Endpoint.REGISTER, (None, None)),
        ("GET", b"/models/m", Endpoint.DESCRIBE, ("m", None)),
        ("GET", b"/models/m/all", Endpoint.DESCRIBE, ("m", "all")),
        ("PUT", b"/models/m", Endpoint.SCALE, ("m", None)),
        ("PUT", b"/models/m/2", Endpoint.SCALE, ("m", "2")),
        ("DELETE", b"/models/m/2", Endpoint.UNREGISTER, ("m", "2")),
        ("PUT", b"/models/m/2/set-default", Endpoint.SET_DEFAULT, ("m", "2")),
        ("OPTIONS", b"/models/m", Endpoint.MODEL_API_DESCRIPTION, ("m", None)),
        ("GET", b"/v1/models/m", Endpoint.READY, ("m", None)),
        ("GET", b"/token", Endpoint.TOKEN, (None, None)),
        ("OPTIONS", b"/", Endpoint.API_DESCRIPTION, (None, None)),
        ("GET", b"/api-description", Endpoint.API_DESCRIPTION, (None, None)),
    ],
)
def test_management_routes(
    method: str, path: bytes, endpoint: Endpoint, named: tuple[str | None, str | None]
) -> None:
    match = resolve(path, method, Api.MANAGEMENT)
    assert match.route.endpoint is endpoint
    assert (match.model, match.version) == named


def test_each_listener_knows_its_own_routes_only() -> None:
    for path, stranger in ((b"/models", Api.INFERENCE), (b"/predictions/m", Api.MANAGEMENT)):
        with pytest.raises(ResourceNotFound):
            resolve(path, "GET", stranger)
    for path in (b"/metrics", b"/metrics/", b"/metrics/anything/below"):
        assert resolve(path, "GET", Api.METRICS).route.endpoint is Endpoint.METRICS


def test_on_a_shared_listener_the_more_literal_path_wins() -> None:
    both = Api.INFERENCE | Api.MANAGEMENT
    assert resolve(b"/models/m/invoke", "GET", both).route.endpoint is Endpoint.PREDICT
    assert resolve(b"/models/m/2", "GET", both).route.endpoint is Endpoint.DESCRIBE
    assert resolve(b"/models/predict", "GET", both).route.endpoint is Endpoint.DESCRIBE
    assert resolve(b"/m/predict", "GET", both).route.endpoint is Endpoint.PREDICT


def test_a_method_that_a_known_path_lacks() -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        resolve(b"/models", "PATCH", Api.MANAGEMENT)
    assert raised.value.headers == {"Allow": "GET, POST"}
    with pytest.raises(MethodNotAllowed):
        resolve(b"/models/m/2/set-default", "GET", Api.MANAGEMENT)
