"""The one table of routes: path and methods, endpoint, the API it belongs to, and the key that it needs.

Pure: a path in, a route and its parameters out. The OpenAPI document is made from the same table. Source of
the paths: TorchServe's inference, management and metrics APIs, SageMaker's conventions, KServe v1 and the
Open Inference Protocol (KServe v2).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from torchkeeper.errors import BadEscape, FeatureMissing, MethodNotAllowed, ResourceNotFound
from torchkeeper.keys.key import Key
from torchkeeper.serving.apis import Api
from torchkeeper.serving.dialect import Dialect
from torchkeeper.wire.features import WORKFLOWS
from torchkeeper.wire.messages import Kind


class Endpoint(enum.Enum):
    """What a route means."""

    PING = "ping"
    PREDICT = "predict"
    INVOKE = "invoke"
    EXECUTION_PARAMETERS = "execution parameters"
    LIST = "list"
    REGISTER = "register"
    DESCRIBE = "describe"
    SCALE = "scale"
    SET_DEFAULT = "set default"
    UNREGISTER = "unregister"
    READY = "ready"
    TOKEN = "token"
    METRICS = "metrics"
    API_DESCRIPTION = "api description"
    MODEL_API_DESCRIPTION = "model api description"
    DOCS = "docs"
    ALIVE = "alive"
    V1_LIST = "v1 list"
    V1_READY = "v1 ready"
    V1_INFER = "v1 infer"
    V2_SERVER = "v2 server"
    V2_LIVE = "v2 live"
    V2_READY = "v2 ready"
    V2_LIST = "v2 list"
    V2_MODEL = "v2 model"
    V2_MODEL_READY = "v2 model ready"
    V2_INFER = "v2 infer"
    VERTEX_HEALTH = "vertex health"
    VERTEX_PREDICT = "vertex predict"
    REPOSITORY_INDEX = "repository index"
    REPOSITORY_LOAD = "repository load"
    REPOSITORY_UNLOAD = "repository unload"


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `{m}` and `{v}` stand for model and version, a trailing `*` for any further segments.

    A placeholder may have a suffix, as in `{m}:predict`. No methods means any method.
    """

    pattern: str
    endpoint: Endpoint
    summary: str
    api: Api = Api.INFERENCE
    key: Key = Key.INFERENCE
    methods: tuple[str, ...] = ()
    kind: Kind = Kind.PREDICT
    #: Whose clients ask there.
    dialect: Dialect = Dialect.TORCHSERVE


def _spoken(dialect: Dialect, routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """Rows whose clients speak a dialect."""
    return tuple(replace(route, dialect=dialect) for route in routes)


_ANY = Api.INFERENCE | Api.MANAGEMENT | Api.METRICS
_MANAGE = (Api.MANAGEMENT, Key.MANAGEMENT)
_GET = ("GET", "HEAD")
_PROBE = (Api.INFERENCE, Key.PROBE, _GET)
_LOOK = (Api.INFERENCE, Key.INFERENCE, _GET)
_ASK = (Api.INFERENCE, Key.INFERENCE, ("POST",))
_REPOSITORY = (Api.INFERENCE | Api.MANAGEMENT, Key.MANAGEMENT, ("POST",))
_EXPLAIN: tuple[Api, Key, tuple[str, ...], Kind] = (Api.INFERENCE, Key.INFERENCE, (), Kind.EXPLAIN)

_KSERVE_V1 = (
    Route("/v1/models", Endpoint.V1_LIST, "KServe v1: list models", *_LOOK),
    Route("/v1/models/{m}", Endpoint.V1_READY, "KServe v1: whether a model is ready", *_PROBE),
    Route("/v1/models/{m}", Endpoint.READY, "Whether a model has workers", *_MANAGE, ("GET",)),
    Route("/v1/models/{m}:predict", Endpoint.V1_INFER, "KServe v1: predict", *_ASK),
    Route("/v1/models/{m}:explain", Endpoint.V1_INFER, "KServe v1: explain", *_ASK, Kind.EXPLAIN),
)
_OPEN_INFERENCE = (
    Route("/v2", Endpoint.V2_SERVER, "KServe v2: the server's name and extensions", *_LOOK),
    Route("/v2/health/live", Endpoint.V2_LIVE, "KServe v2: whether the server is alive", *_PROBE),
    Route("/v2/health/ready", Endpoint.V2_READY, "KServe v2: whether the server is ready", *_PROBE),
    Route("/v2/models", Endpoint.V2_LIST, "KServe v2: list models", *_LOOK),
    Route("/v2/models/{m}", Endpoint.V2_MODEL, "KServe v2: what a model takes and gives", *_LOOK),
    Route("/v2/models/{m}/versions/{v}", Endpoint.V2_MODEL, "KServe v2: the same of a version", *_LOOK),
    Route("/v2/models/{m}/ready", Endpoint.V2_MODEL_READY, "KServe v2: whether a model is ready", *_PROBE),
    Route("/v2/models/{m}/versions/{v}/ready", Endpoint.V2_MODEL_READY, "The same of a version", *_PROBE),
    Route("/v2/models/{m}/infer", Endpoint.V2_INFER, "KServe v2: infer", *_ASK),
    Route("/v2/models/{m}/versions/{v}/infer", Endpoint.V2_INFER, "KServe v2: infer with a version", *_ASK),
    Route("/v2/models/{m}/explain", Endpoint.V2_INFER, "Explain, in v2's form", *_ASK, Kind.EXPLAIN),
    Route(
        "/v2/models/{m}/versions/{v}/explain",
        Endpoint.V2_INFER,
        "Explain with a version, in v2's form",
        *_ASK,
        Kind.EXPLAIN,
    ),
    Route("/v2/repository/index", Endpoint.REPOSITORY_INDEX, "What is loaded, and how", *_REPOSITORY),
    Route(
        "/v2/repository/models/{m}/load",
        Endpoint.REPOSITORY_LOAD,
        "Load the store's model of a name",
        *_MANAGE,
        ("POST",),
    ),
    Route(
        "/v2/repository/models/{m}/unload",
        Endpoint.REPOSITORY_UNLOAD,
        "Unload all versions of a model",
        *_MANAGE,
        ("POST",),
    ),
)

ROUTES = (
    Route("/ping", Endpoint.PING, "Whether the server is healthy", key=Key.PROBE),
    Route("/predictions/{m}", Endpoint.PREDICT, "Predict with a model's default version"),
    Route("/predictions/{m}/{v}/*", Endpoint.PREDICT, "Predict with a version of a model"),
    Route("/explanations/{m}", Endpoint.PREDICT, "Explain a prediction of the default version", *_EXPLAIN),
    Route("/explanations/{m}/{v}/*", Endpoint.PREDICT, "Explain a prediction of a version", *_EXPLAIN),
    Route("/invocations", Endpoint.INVOKE, "Predict with the model named by model_name, or the only one"),
    Route("/execution-parameters", Endpoint.EXECUTION_PARAMETERS, "What SageMaker's batch transform asks"),
    Route("/models/{m}/invoke", Endpoint.PREDICT, "Predict, SageMaker's multi-model form"),
    Route("/{m}/predict", Endpoint.PREDICT, "Predict, the older form"),
    Route("/{m}/{v}/predict", Endpoint.PREDICT, "Predict with a version, the older form"),
    Route(
        "/predictions/{m}",
        Endpoint.MODEL_API_DESCRIPTION,
        "The API of one model",
        key=Key.NONE,
        methods=("OPTIONS",),
    ),
    Route("/models", Endpoint.LIST, "List models", *_MANAGE, ("GET",)),
    Route("/models", Endpoint.REGISTER, "Register a model", *_MANAGE, ("POST",)),
    Route("/models/{m}", Endpoint.DESCRIBE, "Describe the default version", *_MANAGE, ("GET",)),
    Route("/models/{m}", Endpoint.SCALE, "Scale the default version's workers", *_MANAGE, ("PUT",)),
    Route("/models/{m}", Endpoint.UNREGISTER, "Unregister the default version", *_MANAGE, ("DELETE",)),
    Route("/models/{m}", Endpoint.MODEL_API_DESCRIPTION, "The API of one model", *_MANAGE, ("OPTIONS",)),
    Route("/models/{m}/{v}", Endpoint.DESCRIBE, "Describe a version, or `all`", *_MANAGE, ("GET",)),
    Route("/models/{m}/{v}", Endpoint.SCALE, "Scale a version's workers", *_MANAGE, ("PUT",)),
    Route("/models/{m}/{v}", Endpoint.UNREGISTER, "Unregister a version", *_MANAGE, ("DELETE",)),
    Route("/models/{m}/{v}/set-default", Endpoint.SET_DEFAULT, "Set the default version", *_MANAGE, ("PUT",)),
    Route("/", Endpoint.ALIVE, "KServe v1: whether the server is alive", *_PROBE),
    *_spoken(Dialect.KSERVE_V1, _KSERVE_V1),
    *_spoken(Dialect.OPEN_INFERENCE, _OPEN_INFERENCE),
    Route("/token", Endpoint.TOKEN, "Renew a key", Api.MANAGEMENT, Key.API),
    Route("/metrics/*", Endpoint.METRICS, "The metrics in Prometheus' text form", Api.METRICS, Key.NONE),
    Route("/", Endpoint.API_DESCRIPTION, "This document", _ANY, Key.NONE, ("OPTIONS",)),
    Route("/api-description", Endpoint.API_DESCRIPTION, "This document", _ANY, Key.NONE),
    Route("/docs", Endpoint.DOCS, "This document as a page", _ANY, Key.NONE, ("GET", "HEAD")),
)


#: First segments of TorchServe's paths that lead to what is not here.
_MISSING = {"/workflows": WORKFLOWS, "/wfpredict": WORKFLOWS}
#: Who asks below a first segment that leads to no route.
_STRANGERS = {"v1": Dialect.KSERVE_V1, "v2": Dialect.OPEN_INFERENCE}


def dialect_of(raw_path: bytes) -> Dialect:
    """Whose client asks for a path (with or without its query) to which there is no route."""
    first = raw_path.partition(b"?")[0].decode("latin-1").split("/")[1:2]
    return _STRANGERS.get(first[0], Dialect.TORCHSERVE) if first else Dialect.TORCHSERVE


@dataclass(frozen=True, slots=True)
class Match:
    """A route with what its path named."""

    route: Route
    model: str | None = None
    version: str | None = None
    url_path: str | None = None


def resolve(raw_path: bytes, method: str, apis: Api) -> Match:
    """The route of a path (still %-escaped, without the query) on a listener that serves `apis`.

    One trailing slash is tolerated, doubled ones are not; paths are case-sensitive.

    Raises:
        BadEscape: a % escape that is none.
        ResourceNotFound, MethodNotAllowed, FeatureMissing: no route.
    """
    path = unescape(raw_path)
    segments = path.removesuffix("/").split("/")[1:]
    if "" in segments:
        raise ResourceNotFound()
    found: Match | None = None
    allowed: list[str] = []
    taken: tuple[str, ...] | None = None
    for route, pattern in (*_EXACT.get(len(segments), ()), *_OPEN):
        if not route.api & apis or (taken is not None and pattern != taken):
            continue
        match = _match(route, pattern, segments)
        if match is None:
            continue
        taken = pattern
        allowed += route.methods
        if method in route.methods:
            return match
        if not route.methods:
            found = match
    if found is not None:
        return found
    if taken is not None:
        raise MethodNotAllowed(allowed)
    first = f"/{segments[0]}" if segments else "/"
    raise FeatureMissing(_MISSING[first].asked_by(first)) if first in _MISSING else ResourceNotFound()


def unescape(raw_path: bytes) -> str:
    """The path with its % escapes resolved.

    Raises:
        BadEscape: with the text that TorchServe's HTTP library gives.
    """
    if b"%" not in raw_path:
        return raw_path.decode("latin-1")
    text = raw_path.decode("latin-1")
    at = text.find("%")
    while at >= 0:
        digits = text[at + 1 : at + 3]
        if len(digits) < 2:
            raise BadEscape(f"unterminated escape sequence at index {at} of: {text}")
        if any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise BadEscape(f"invalid hex byte '{digits}' at index {at} of '{text}'")
        at = text.find("%", at + 3)
    return unquote_to_bytes(raw_path).decode("utf-8", errors="replace")


_Row = tuple[Route, tuple[str, ...]]


def _match(route: Route, pattern: tuple[str, ...], segments: list[str]) -> Match | None:
    if len(segments) < len(pattern):
        return None
    named: dict[str, str] = {}
    for want, have in zip(pattern, segments, strict=False):
        if want.startswith("{"):
            placeholder, suffix = want[:3], want[3:]
            if suffix and (not have.endswith(suffix) or have == suffix):
                return None
            named[placeholder] = have.removesuffix(suffix)
        elif want != have:
            return None
    rest = segments[len(pattern) :]
    return Match(route, named.get("{m}"), named.get("{v}"), "/".join(rest) if rest else None)


def _table() -> tuple[dict[int, list[_Row]], list[_Row]]:
    """Routes by their number of segments, and those that take any further segments.

    Among rows of the same length, literal segments go before placeholders, from the left: `/models/m/invoke`
    names no version, and `/models/predict` no model called `models`; of placeholders the longer go first.
    """
    exact: dict[int, list[_Row]] = {}
    open_ended: list[_Row] = []
    for route in ROUTES:
        pattern = tuple(part for part in route.pattern.removesuffix("/*").split("/")[1:] if part)
        exact.setdefault(len(pattern), []).append((route, pattern))
        if route.pattern.endswith("/*"):
            open_ended.append((route, pattern))
    for rows in exact.values():
        rows.sort(key=lambda row: tuple((part[:1] == "{", -len(part)) for part in row[1]))
    return exact, open_ended


_EXACT, _OPEN = _table()
