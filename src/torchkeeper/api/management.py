"""What the management URLs mean: parameters in, one of `serving.operations`, its answer as JSON out.

Source of parameters and statuses: TorchServe's management API.
"""

from __future__ import annotations

from collections.abc import Mapping

from torchkeeper.api.body import USUAL, FormLimits, parse_parameters
from torchkeeper.api.call import Call, Handler
from torchkeeper.api.routes import Endpoint
from torchkeeper.errors import MethodNotAllowed
from torchkeeper.serving.operations import Change, Operations, json_text
from torchkeeper.serving.parameters import Describe, Page, Register, Scale, T, fitting
from torchkeeper.wire.messages import Reply


class ManagementApi:
    """The endpoints of the management API."""

    def __init__(self, operations: Operations, forms: FormLimits = USUAL) -> None:
        self._operations = operations
        self._forms = forms

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.LIST: self._list,
            Endpoint.REGISTER: self._register,
            Endpoint.DESCRIBE: self._describe,
            Endpoint.SCALE: self._scale,
            Endpoint.SET_DEFAULT: self._set_default,
            Endpoint.UNREGISTER: self._unregister,
            Endpoint.READY: self._ready,
        }

    async def _list(self, call: Call) -> Reply:
        return json_reply(self._operations.page(await self._read(call, Page)))

    async def _describe(self, call: Call) -> Reply:
        wanted = await self._read(call, Describe)
        name, version = str(call.match.model), call.match.version
        found = await self._operations.describe(
            name,
            version,
            customized=wanted.customized,
            request_id=call.request_id,
            origins=wanted.setting_origins,
        )
        return json_reply(found)

    async def _ready(self, call: Call) -> Reply:
        name, ready = self._operations.ready(str(call.match.model))
        return json_reply({"name": name, "ready": ready})

    async def _register(self, call: Call) -> Reply:
        self._check_model_api("GET")
        return _status(await self._operations.register(await self._read(call, Register)))

    async def _scale(self, call: Call) -> Reply:
        wanted = await self._read(call, Scale)
        version = call.match.version or wanted.model_version
        return _status(await self._operations.scale(str(call.match.model), version, wanted))

    async def _set_default(self, call: Call) -> Reply:
        return _status(await self._operations.set_default(str(call.match.model), str(call.match.version)))

    async def _unregister(self, call: Call) -> Reply:
        self._check_model_api("GET", "PUT", "OPTIONS")
        return _status(await self._operations.unregister(str(call.match.model), call.match.version))

    def _check_model_api(self, *others: str) -> None:
        if not self._operations.model_api:
            raise MethodNotAllowed(others)

    async def _read(self, call: Call, kind: type[T]) -> T:
        body = await call.body()
        kind_of_body = call.header(b"content-type")
        return fitting(kind, parse_parameters(call.scope["query_string"], kind_of_body, body, self._forms))


def json_reply(value: object, status: int = 200) -> Reply:
    """A JSON answer of the server itself."""
    return Reply(json_text(value), status, "", {}, "application/json")


def _status(change: Change) -> Reply:
    return json_reply({"status": change.sentence}, 200 if change.complete else 202)
