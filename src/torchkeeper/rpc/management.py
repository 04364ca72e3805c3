"""TorchServe's management service: fields in, one of `serving.operations`, its sentence or JSON out.

Source: TorchServe's gRPC API. Numbers that are 0 or less count as not given, because proto3 cannot tell 0
from nothing: so scaling to 0 workers takes REST.
"""

from __future__ import annotations

from typing import Any

from torchkeeper.errors import BadRequest
from torchkeeper.keys.key import Key
from torchkeeper.rpc.calls import Calls, Rpc, RpcCall
from torchkeeper.rpc.schema import MANAGEMENT, message, methods
from torchkeeper.rpc.status import ModelApiDisabled
from torchkeeper.serving.dialect import Dialect
from torchkeeper.serving.operations import Operations, json_text
from torchkeeper.serving.parameters import Page, Register, Scale, fitting

ManagementResponse = message("org.pytorch.serve.grpc.management.ManagementResponse")


class ManagementService:
    """The RPCs of ManagementAPIsService."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def handlers(self, calls: Calls) -> dict[str, Any]:
        """gRPC's handlers by method name."""
        serve = {
            "DescribeModel": self._describe,
            "ListModels": self._list,
            "RegisterModel": self._register,
            "ScaleWorker": self._scale,
            "SetDefault": self._set_default,
            "UnregisterModel": self._unregister,
        }
        keyed = {name: Rpc(one, Key.MANAGEMENT) for name, one in serve.items()}
        return calls.handlers(methods(MANAGEMENT), keyed, Dialect.TORCHSERVE)

    async def _describe(self, call: RpcCall, request: Any) -> Any:
        found = await self._operations.describe(
            _named(request),
            request.model_version or None,
            customized=request.customized,
            request_id=call.request_id,
        )
        return _json(found)

    async def _list(self, call: RpcCall, request: Any) -> Any:
        return _json(self._operations.page(fitting(Page, _given(request))))

    async def _register(self, call: RpcCall, request: Any) -> Any:
        self._check_model_api()
        wanted = fitting(Register, {**_given(request), "synchronous": request.synchronous})
        return _said((await self._operations.register(wanted)).sentence)

    async def _scale(self, call: RpcCall, request: Any) -> Any:
        name = _named(request)
        wanted = fitting(Scale, {**_given(request), "synchronous": request.synchronous})
        return _said((await self._operations.scale(name, wanted.model_version, wanted)).sentence)

    async def _set_default(self, call: RpcCall, request: Any) -> Any:
        name = _named(request)
        if not request.model_version:
            raise BadRequest("Parameter model_version is required.")
        return _said((await self._operations.set_default(name, request.model_version)).sentence)

    async def _unregister(self, call: RpcCall, request: Any) -> Any:
        self._check_model_api()
        done = await self._operations.unregister(_named(request), request.model_version or None)
        return _said(done.sentence)

    def _check_model_api(self) -> None:
        if not self._operations.model_api:
            raise ModelApiDisabled


def _named(request: Any) -> str:
    if not request.model_name:
        raise BadRequest("Parameter model_name is required.")
    name: str = request.model_name
    return name


def _given(request: Any) -> dict[str, object]:
    """The fields that say something: not 0, not negative, not empty."""
    values = {field.name: getattr(request, field.name) for field in request.DESCRIPTOR.fields}
    return {name: value for name, value in values.items() if (value if isinstance(value, str) else value > 0)}


def _said(sentence: str) -> Any:
    return ManagementResponse(msg=sentence)


def _json(value: object) -> Any:
    return ManagementResponse(msg=json_text(value).decode())
