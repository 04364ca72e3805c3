"""What KServe's v1 URLs mean, and how a request of v1 or v2 gets from its URL to the model's envelope.

The body travels to the worker as it came; the envelope that the URL stands for reads it there. Source:
KServe's v1 data plane.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from torchkeeper.api.call import Call, Handler, answered
from torchkeeper.api.coding import WORTHWHILE, chosen, decoded, encoded
from torchkeeper.api.orca import ASKS, with_load
from torchkeeper.api.routes import Endpoint
from torchkeeper.errors import ServiceUnavailable
from torchkeeper.models.registry import Models
from torchkeeper.models.version import ModelVersion
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.offload import offload
from torchkeeper.wire.messages import Input, Part, Reply


class KServeV1Api:
    """The endpoints of KServe v1."""

    def __init__(self, ask: Ask, models: Models) -> None:
        self._ask = ask
        self._models = models

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.ALIVE: self._alive,
            Endpoint.V1_LIST: self._list,
            Endpoint.V1_READY: self._ready,
            Endpoint.V1_INFER: self._infer,
        }

    async def _alive(self, call: Call) -> Reply:
        return compact({"status": "alive"})

    async def _list(self, call: Call) -> Reply:
        return compact({"models": self._models.names()})

    async def _ready(self, call: Call) -> Reply:
        return model_ready(self._models.find(str(call.match.model)))

    async def _infer(self, call: Call) -> Reply:
        return await infer(call, self._ask, "kserve")


def compact(value: object, status: int = 200) -> Reply:
    """A JSON answer of the server itself, as KServe writes it."""
    return Reply(msgspec.json.encode(value), status, "", {}, "application/json")


def model_ready(found: ModelVersion) -> Reply:
    """That a version is ready.

    Raises:
        ServiceUnavailable: it is not; in KServe's words.
    """
    if not found.ready():
        raise ServiceUnavailable(f"Model with name {found.name} is not ready.", cause=found.readiness())
    return compact({"name": found.name, "ready": True})


async def infer(call: Call, ask: Ask, envelope: str) -> Reply:
    """The answer of the model that the URL names, through the envelope that the URL stands for."""
    body = await call.body()
    coding = call.header(b"content-encoding")
    headers = call.fields()
    if coding is not None:
        body = await offload(len(body), decoded, body, coding, call.max_body)
        headers = {name: value for name, value in headers.items() if name.lower() != "content-encoding"}
    match = call.match
    request = Input(call.request_id, match.route.kind, (Part("body", body),), headers, envelope)
    name = str(match.model)
    reply = await answered(call, ask.whole(name, match.version, request, call.patience()))
    if (form := call.header(ASKS)) is not None:
        reply = with_load(reply, form, ask.load(name, match.version))
    return await _packed(reply, call.header(b"accept-encoding"))


async def _packed(reply: Reply, accept: str | None) -> Reply:
    """The reply in the coding that the client likes, where that pays and the handler has not seen to it."""
    if accept is None or len(reply.body) < WORTHWHILE or (coding := chosen(accept)) is None:
        return reply
    names = {name.lower(): name for name in reply.headers}
    if "content-encoding" in names:
        return reply
    vary = names.get("vary", "Vary")
    varies = (reply.headers.get(vary), "Accept-Encoding")
    body = await offload(len(reply.body), encoded, reply.body, coding)
    headers = {**reply.headers, "Content-Encoding": coding, vary: ", ".join(filter(None, varies))}
    return msgspec.structs.replace(reply, body=body, headers=headers)
