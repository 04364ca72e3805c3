"""The table of routes: what each path means, and what no path means."""

import pytest

from torchkeeper.api.routes import Endpoint, resolve
from torchkeeper.errors import BadEscape, FeatureMissing, MethodNotAllowed, ResourceNotFound
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Kind


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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", b"/workflows"),
            ("POST", b"/workflows"),
            ("DELETE", b"/workflows/w"),
            ("PUT", b"/workflows/w/"),
        ),
        *(("POST", b"/wfpredict/w"), ("GET", b"/wfpredict")),
    ],
)
@pytest.mark.parametrize("apis", [Api.INFERENCE, Api.MANAGEMENT])
def test_workflows_are_said_to_be_missing(method: str, path: bytes, apis: Api) -> None:
    with pytest.raises(
        FeatureMissing, match=r"^/w\w+ asks for workflows, which torchkeeper does not have yet; "
    ):
        resolve(path, method, apis)


@pytest.mark.parametrize(("method", "apis"), [("POST", Api.INFERENCE), ("GET", Api.MANAGEMENT)])
def test_the_root_says_alive_to_those_who_get_it(method: str, apis: Api) -> None:
    assert resolve(b"/", "GET", Api.INFERENCE).route.endpoint is Endpoint.ALIVE
    with pytest.raises(MethodNotAllowed):
        resolve(b"/", method, apis)


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "kind", "named"),
    [
        ("GET", b"/v1/models", Endpoint.V1_LIST, Kind.PREDICT, (None, None)),
        ("GET", b"/v1/models/m", Endpoint.V1_READY, Kind.PREDICT, ("m", None)),
        ("GET", b"/v1/models/predict", Endpoint.V1_READY, Kind.PREDICT, ("predict", None)),
        ("POST", b"/v1/models/m:predict", Endpoint.V1_INFER, Kind.PREDICT, ("m", None)),
        ("POST", b"/v1/models/m%3Aexplain", Endpoint.V1_INFER, Kind.EXPLAIN, ("m", None)),
        ("POST", b"/v1/models/a:b:predict/", Endpoint.V1_INFER, Kind.PREDICT, ("a:b", None)),
        ("GET", b"/v2", Endpoint.V2_SERVER, Kind.PREDICT, (None, None)),
        ("GET", b"/v2/", Endpoint.V2_SERVER, Kind.PREDICT, (None, None)),
        ("HEAD", b"/v2/health/live", Endpoint.V2_LIVE, Kind.PREDICT, (None, None)),
        ("GET", b"/v2/health/ready", Endpoint.V2_READY, Kind.PREDICT, (None, None)),
        ("GET", b"/v2/models", Endpoint.V2_LIST, Kind.PREDICT, (None, None)),
        ("GET", b"/v2/models/m", Endpoint.V2_MODEL, Kind.PREDICT, ("m", None)),
        ("GET", b"/v2/models/m/versions/2", Endpoint.V2_MODEL, Kind.PREDICT, ("m", "2")),
        ("GET", b"/v2/models/m/ready", Endpoint.V2_MODEL_READY, Kind.PREDICT, ("m", None)),
        ("GET", b"/v2/models/m/versions/2/ready", Endpoint.V2_MODEL_READY, Kind.PREDICT, ("m", "2")),
        ("POST", b"/v2/models/m/infer", Endpoint.V2_INFER, Kind.PREDICT, ("m", None)),
        ("POST", b"/v2/models/m/versions/2/infer", Endpoint.V2_INFER, Kind.PREDICT, ("m", "2")),
        ("POST", b"/v2/models/m/explain", Endpoint.V2_INFER, Kind.EXPLAIN, ("m", None)),
        ("POST", b"/v2/models/m/versions/2/explain", Endpoint.V2_INFER, Kind.EXPLAIN, ("m", "2")),
        ("POST", b"/v2/repository/index", Endpoint.REPOSITORY_INDEX, Kind.PREDICT, (None, None)),
    ],
)
def test_kserves_routes(
    method: str, path: bytes, endpoint: Endpoint, kind: Kind, named: tuple[str | None, str | None]
) -> None:
    match = resolve(path, method, Api.INFERENCE)
    assert (match.route.endpoint, match.route.kind) == (endpoint, kind)
    assert (match.model, match.version) == named


@pytest.mark.parametrize("path", [b"/v1/models/m:predict", b"/v2/models/m/infer", b"/v1/models/m:explain"])
def test_what_is_to_be_posted_cannot_be_got(path: bytes) -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        resolve(path, "GET", Api.INFERENCE)
    assert raised.value.headers["Allow"] == "POST"


def test_models_are_loaded_through_the_management_api_only() -> None:
    path = b"/v2/repository/models/m/load"
    assert resolve(path, "POST", Api.MANAGEMENT).route.endpoint is Endpoint.REPOSITORY_LOAD
    with pytest.raises(ResourceNotFound):
        resolve(path, "POST", Api.INFERENCE)
    shared = resolve(b"/v1/models/m", "GET", Api.INFERENCE | Api.MANAGEMENT)
    assert shared.route.endpoint is Endpoint.V1_READY


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
