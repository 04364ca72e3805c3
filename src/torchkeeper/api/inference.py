"""What the inference URLs mean: a request becomes an Input, a handler's reply the answer.

Source: TorchServe's inference API, and SageMaker's conventions for `/invocations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from torchkeeper.api.body import USUAL, FormLimits, is_form, parse_parts, parse_query, takes_long
from torchkeeper.api.call import Call, Handler, answered
from torchkeeper.api.orca import ASKS, with_load
from torchkeeper.api.routes import Endpoint
from torchkeeper.api.sagemaker import TARGET, execution_parameters, target_model
from torchkeeper.api.streaming import Streamed, streamed
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import BadRequest
from torchkeeper.models.registry import Models
from torchkeeper.serving.ask import Ask
from torchkeeper.wire.messages import Input, Part, Reply

#: Bytes that the pieces of a body have, on the average, for it to stay in them.
_LONG = 16 * 1024


class InferenceApi:
    """The endpoints of the inference API."""

    def __init__(
        self,
        ask: Ask,
        models: Models,
        max_request_size: int,
        forms: FormLimits = USUAL,
        *,
        ping_ready: bool = False,
    ) -> None:
        self._ask = ask
        self._models = models
        self._max_request_size = max_request_size
        self._forms = forms
        self._ping_ready = ping_ready

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.PING: self._ping,
            Endpoint.PREDICT: self._predict,
            Endpoint.INVOKE: self._predict,
            Endpoint.EXECUTION_PARAMETERS: self._execution_parameters,
        }

    async def _ping(self, call: Call) -> Reply:
        healthy = self._models.healthy() and not (self._ping_ready and self._models.unready())
        body = b'{\n  "status": "%s"\n}\n' % (b"Healthy" if healthy else b"Unhealthy")
        return Reply(body, 200 if healthy else 500, "", {}, "application/json")

    async def _execution_parameters(self, call: Call) -> Reply:
        workers = sum(found.min_workers for found in self._models)
        body = execution_parameters(workers, self._max_request_size)
        return Reply(body, 200, "", {}, "application/json")

    async def _predict(self, call: Call) -> Reply | Streamed:
        scope, match = call.scope, call.match
        headers = call.fields()
        pieces = await call.pieces()
        query = parse_query(scope["query_string"], self._forms) if scope["query_string"] else ()
        kind = call.header(b"content-type")
        if is_form(kind) or sum(map(len, pieces)) < len(pieces) * _LONG:
            pieces = [b"".join(pieces)]
        body = pieces[0]
        if takes_long(kind, len(body)):
            parts = (*query, *await asyncio.to_thread(parse_parts, kind, body, self._forms))
        else:
            parts = (*query, *parse_parts(kind, body, self._forms))
        if len(pieces) > 1:
            parts = (*query, msgspec.structs.replace(parts[-1], rest=tuple(pieces[1:])))
        if not body and call.header(b"content-length") is None:
            headers["content-length"] = "0"
        if match.url_path is not None:
            headers["url_path"] = match.url_path
        model = self._invoked(call, parts) if match.model is None else match.model
        request = Input(call.request_id, match.route.kind, parts, headers)
        answer = await answered(call, self._ask.in_parts(model, match.version, request, call.patience()))
        if isinstance(answer, Stream):
            return streamed(answer, call.header(b"accept"))
        if (form := call.header(ASKS)) is not None:
            return with_load(answer, form, self._ask.load(model, match.version))
        return answer

    def _invoked(self, call: Call, parts: tuple[Part, ...]) -> str:
        """SageMaker's choice: the model that the request names, or the only one."""
        for part in parts:
            if part.name == "model_name":
                return part.value.decode(errors="replace")
        names = self._models.names()
        if (target := call.header(TARGET)) is not None:
            return target_model(target, names)
        if len(names) != 1:
            raise BadRequest("Parameter model_name is required.")
        return names[0]
