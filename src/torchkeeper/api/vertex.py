"""What Vertex AI's health and predict routes mean; it makes up their paths.

Source: Vertex AI's requirements of custom containers; the model's name is that of its prebuilt images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from torchkeeper.api.call import Call, Handler
from torchkeeper.api.kserve import compact, infer
from torchkeeper.api.routes import Endpoint, Match, Route, resolve
from torchkeeper.errors import (
    BadEscape,
    BadRequest,
    FeatureMissing,
    MethodNotAllowed,
    ResourceNotFound,
    SettingsError,
)
from torchkeeper.keys.key import Key
from torchkeeper.models.registry import Models
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import Ask
from torchkeeper.wire.messages import Reply

#: The model that is asked where the path names none.
DEFAULT = "model"
_JSON = "application/json"
_ASK = (Endpoint.PREDICT, Endpoint.INVOKE, Endpoint.V1_INFER, Endpoint.V2_INFER)
#: What tells of the server's health, by GET.
_HEALTH = (Endpoint.PING, Endpoint.V2_LIVE, Endpoint.V2_READY)


def vertex_paths(health: str | None, predict: str | None) -> dict[str, Match]:
    """The routes of paths that Vertex AI made up; a predict path that is the server's own stays as it is.

    Raises:
        SettingsError: predictions would stand where the server tells of its health.
    """
    found: dict[str, Match] = {}
    if predict is not None and not _asks_a_model(predict):
        if (own := _own(predict, "GET", Api.INFERENCE)) and own.endpoint in _HEALTH:
            raise SettingsError(
                f"AIP_PREDICT_ROUTE={predict}: the server's health is there; choose another path"
            )
        route = Route(predict, Endpoint.VERTEX_PREDICT, "Vertex AI: predict", methods=("POST",))
        found[predict] = Match(route)
    if health is not None:
        route = Route(
            health,
            Endpoint.VERTEX_HEALTH,
            "Vertex AI: whether all start-up models serve",
            key=Key.NONE,
            methods=("GET", "HEAD"),
        )
        found[health] = Match(route)
    return found


def shadowed(paths: Mapping[str, Match], apis: Api) -> list[str]:
    """Sentences about what cannot be asked of a listener of `apis` because Vertex AI's routes stand there.

    Health in the place of health is what was asked for.
    """
    lost: dict[str, list[str]] = {}
    for path, match in paths.items():
        for method in match.route.methods:
            own = _own(path, method, apis)
            if own is not None and own.key is not Key.PROBE:
                said = f"{path} is Vertex AI's; what the server has there cannot be asked ({own.summary})"
                lost.setdefault(said, []).append(method)
    return [f"{' and '.join(methods)} {said}" for said, methods in lost.items()]


def _asks_a_model(path: str) -> bool:
    route = _own(path, "POST", Api.INFERENCE)
    return route is not None and route.endpoint in _ASK


def _own(path: str, method: str, apis: Api) -> Route | None:
    """The server's own route of a path, unless it is one by chance: `/v1/predict` asks no model called v1."""
    try:
        route = resolve(path.encode(), method, apis).route
    except (BadEscape, FeatureMissing, ResourceNotFound, MethodNotAllowed):
        return None
    return None if route.pattern.startswith("/{") else route


class VertexApi:
    """The endpoints of Vertex AI; `envelope` is that of its requests."""

    def __init__(self, ask: Ask, models: Models, envelope: str) -> None:
        self._ask = ask
        self._models = models
        self._envelope = envelope

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {Endpoint.VERTEX_HEALTH: self._health, Endpoint.VERTEX_PREDICT: self._predict}

    async def _health(self, call: Call) -> Reply:
        why = self._models.unready()
        if why:
            return compact({"status": "Unhealthy", "error": "; ".join(why)}, 503)
        return compact({"status": "Healthy"})

    async def _predict(self, call: Call) -> Reply:
        match = replace(call.match, model=self._model())
        reply = await infer(msgspec.structs.replace(call, match=match), self._ask, self._envelope)
        if (reply.content_type or "").startswith("text/plain"):  # the envelope's JSON text
            return msgspec.structs.replace(reply, content_type=_JSON)
        return reply

    def _model(self) -> str:
        names = self._models.names()
        if DEFAULT in names:
            return DEFAULT
        if len(names) != 1:
            raise BadRequest(f"The predict route leads to the model {DEFAULT}, or to the only one.")
        return names[0]
