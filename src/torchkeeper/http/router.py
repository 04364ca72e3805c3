"""The one table of routes: method, path, endpoint, and the key that a route needs.

Pure: a path in, an endpoint's name and parameters out. Source of the paths: TorchServe's inference API.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from torchkeeper.errors import BadEscape, MethodNotAllowed, ResourceNotFound
from torchkeeper.messages import Kind


class Key(enum.Enum):
    """Which token a route needs when token authorization is on."""

    NONE = "none"
    PROBE = "probe"
    INFERENCE = "inference"
    MANAGEMENT = "management"
    API = "API"


class Endpoint(enum.Enum):
    """What a route means."""

    PING = "ping"
    PREDICT = "predict"
    INVOKE = "invoke"


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `{m}` and `{v}` stand for model and version, a trailing `*` for any further segments."""

    pattern: str
    endpoint: Endpoint
    kind: Kind = Kind.PREDICT
    key: Key = Key.INFERENCE


ROUTES = (
    Route("/ping", Endpoint.PING),
    Route("/predictions/{m}", Endpoint.PREDICT),
    Route("/predictions/{m}/{v}/*", Endpoint.PREDICT),
    Route("/explanations/{m}", Endpoint.PREDICT, Kind.EXPLAIN),
    Route("/explanations/{m}/{v}/*", Endpoint.PREDICT, Kind.EXPLAIN),
    Route("/invocations", Endpoint.INVOKE),
    Route("/models/{m}/invoke", Endpoint.PREDICT),
    Route("/{m}/predict", Endpoint.PREDICT),
    Route("/{m}/{v}/predict", Endpoint.PREDICT),
)


@dataclass(frozen=True, slots=True)
class Match:
    """A route with what its path named."""

    route: Route
    model: str | None = None
    version: str | None = None
    url_path: str | None = None


@functools.lru_cache(maxsize=1024)
def resolve(raw_path: bytes, method: str) -> Match:
    """The route of a path (still %-escaped, without the query).

    One trailing slash is tolerated, doubled ones are not; paths are case-sensitive. The newest answers are
    remembered: clients ask for the same few paths again and again.

    Raises:
        BadEscape: a % escape that is none.
        ResourceNotFound, MethodNotAllowed: no route.
    """
    path = unescape(raw_path)
    if path == "/":
        raise MethodNotAllowed()
    segments = path.removesuffix("/").split("/")[1:]
    if "" in segments:
        raise ResourceNotFound()
    for route, pattern in (*_EXACT.get(len(segments), ()), *_OPEN):
        match = _match(route, pattern, segments)
        if match is not None:
            return match
    raise ResourceNotFound()


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
            named[want] = have
        elif want != have:
            return None
    rest = segments[len(pattern) :]
    return Match(route, named.get("{m}"), named.get("{v}"), "/".join(rest) if rest else None)


def _table() -> tuple[dict[int, list[_Row]], list[_Row]]:
    """Routes by their number of segments, and those that take any further segments."""
    exact: dict[int, list[_Row]] = {}
    open_ended: list[_Row] = []
    for route in ROUTES:
        pattern = tuple(route.pattern.removesuffix("/*").split("/")[1:])
        exact.setdefault(len(pattern), []).append((route, pattern))
        if route.pattern.endswith("/*"):
            open_ended.append((route, pattern))
    return exact, open_ended


_EXACT, _OPEN = _table()
