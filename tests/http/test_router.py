"""The table of routes: what each path means, and what no path means."""

import pytest

from torchkeeper.errors import BadEscape, MethodNotAllowed, ResourceNotFound
from torchkeeper.http.router import Endpoint, resolve
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
    match = resolve(path, "POST")
    assert match.route.endpoint is endpoint
    assert match.route.kind is kind
    assert (match.model, match.version, match.url_path) == named


@pytest.mark.parametrize(
    "path",
    [b"/nothing", b"/predictions", b"/predictions//m", b"//ping", b"/Ping", b"/a/b/c", b"/predictions/m//"],
)
def test_what_is_no_route_is_not_found(path: bytes) -> None:
    with pytest.raises(ResourceNotFound):
        resolve(path, "GET")


def test_the_root_allows_no_method() -> None:
    with pytest.raises(MethodNotAllowed):
        resolve(b"/", "GET")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"/%zz", "invalid hex byte 'zz' at index 1 of '/%zz'"),
        (b"/a%4", "unterminated escape sequence at index 2 of: /a%4"),
    ],
)
def test_a_broken_escape_is_named(path: bytes, message: str) -> None:
    with pytest.raises(BadEscape) as raised:
        resolve(path, "GET")
    assert raised.value.message == message
    assert raised.value.status == 403
