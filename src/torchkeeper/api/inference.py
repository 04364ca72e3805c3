"""What the inference URLs mean: a request becomes an Input, a handler's reply the answer.

Source: TorchServe's inference API, and SageMaker's conventions for `/invocations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from torchkeeper.api.call import Call, ClientGone, Handler
from torchkeeper.api.streaming import Streamed, streamed
from torchkeeper.engine.dispatch import Dispatcher
from torchkeeper.engine.models import Models
from torchkeeper.engine.stream import Stream
from torchkeeper.engine.version import ModelVersion
from torchkeeper.errors import BadRequest
from torchkeeper.http.body import parse_parts, parse_query
from torchkeeper.http.router import Endpoint, Match
from torchkeeper.messages import Input, Part, Reply
from torchkeeper.sagemaker import execution_parameters

T = TypeVar("T")


class InferenceApi:
    """The endpoints of the inference API."""

    def __init__(self, models: Models, max_request_size: int) -> None:
        self._models = models
        self._max_request_size = max_request_size

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.PING: self._ping,
            Endpoint.PREDICT: self._predict,
            Endpoint.INVOKE: self._predict,
            Endpoint.EXECUTION_PARAMETERS: self._execution_parameters,
        }

    async def _ping(self, call: Call) -> Reply:
        healthy = self._models.healthy()
        body = b'{\n  "status": "%s"\n}\n' % (b"Healthy" if healthy else b"Unhealthy")
        return Reply(body, 200 if healthy else 500, "", {}, "application/json")

    async def _execution_parameters(self, call: Call) -> Reply:
        workers = sum(found.min_workers for found in self._models)
        body = execution_parameters(workers, self._max_request_size)
        return Reply(body, 200, "", {}, "application/json")

    async def _predict(self, call: Call) -> Reply | Streamed:
        scope, match = call.scope, call.match
        headers = call.fields()
        body = await call.body()
        query = parse_query(scope["query_string"]) if scope["query_string"] else ()
        parts = (*query, *parse_parts(call.header(b"content-type"), body))
        if not body:
            headers.setdefault("content-length", "0")
        if match.url_path is not None:
            headers["url_path"] = match.url_path
        dispatcher = self._version(match, parts).dispatcher
        request = Input(call.request_id, match.route.kind, parts, headers)
        ticket = dispatcher.submit_streaming(request, explicit_version=match.version is not None)
        answer = await awaited(call, dispatcher, ticket)
        return streamed(answer, call.header(b"accept")) if isinstance(answer, Stream) else answer

    def _version(self, match: Match, parts: tuple[Part, ...]) -> ModelVersion:
        if match.route.endpoint is not Endpoint.INVOKE:
            return self._models.find(str(match.model), match.version)
        for part in parts:
            if part.name == "model_name":
                return self._models.find(part.value.decode(errors="replace"))
        names = self._models.names()
        if len(names) != 1:
            raise BadRequest("Parameter model_name is required.")
        return self._models.find(names[0])


async def awaited(call: Call, dispatcher: Dispatcher, ticket: asyncio.Future[T]) -> T:
    """What a ticket resolves to; a client that leaves meanwhile takes its request back.

    Raises:
        ClientGone: it did.
    """
    watch = call.scope["extensions"]["torchkeeper"].get("on_gone")
    if watch is not None:
        watch(lambda: dispatcher.cancel(ticket))
    try:
        return await ticket
    except asyncio.CancelledError:
        if ticket.cancelled():
            raise ClientGone from None
        dispatcher.cancel(ticket)
        raise
