"""The Open Inference Protocol's service, under KServe's name and TorchServe's: tensors in, tensors out.

A request becomes the v2 REST body and goes to the envelope `kservev2`, so that both protocols share what is
done with tensors. Source: Open Inference Protocol v2, gRPC.
"""

from __future__ import annotations

from typing import Any

from torchkeeper.errors import BadRequest
from torchkeeper.keys.key import Key
from torchkeeper.models.registry import Models
from torchkeeper.rpc.calls import Calls, Rpc, RpcCall
from torchkeeper.rpc.inference import checked
from torchkeeper.rpc.schema import OPEN_INFERENCE, message, methods
from torchkeeper.rpc.tensors import body_of, is_raw, response_of
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.description import model_metadata, server_metadata
from torchkeeper.serving.offload import offload
from torchkeeper.serving.operations import Operations
from torchkeeper.wire.messages import Input, Kind, Part

ENVELOPE = "kservev2"

ServerLiveResponse = message("inference.ServerLiveResponse")
ServerReadyResponse = message("inference.ServerReadyResponse")
ModelReadyResponse = message("inference.ModelReadyResponse")
ServerMetadataResponse = message("inference.ServerMetadataResponse")
ModelMetadataResponse = message("inference.ModelMetadataResponse")


class OpenInferenceService:
    """The RPCs of GRPCInferenceService."""

    def __init__(self, ask: Ask, models: Models, operations: Operations) -> None:
        self._ask = ask
        self._models = models
        self._operations = operations

    def handlers(self, calls: Calls, service: str) -> dict[str, Any]:
        """gRPC's handlers by method name, for the service under one of its names."""
        served = {
            "ServerLive": Rpc(self._server_live, Key.PROBE),
            "ServerReady": Rpc(self._server_ready, Key.PROBE),
            "ModelReady": Rpc(self._model_ready, Key.PROBE),
            "ServerMetadata": Rpc(self._server_metadata, Key.INFERENCE),
            "ModelMetadata": Rpc(self._model_metadata, Key.INFERENCE),
            "ModelInfer": Rpc(self._infer, Key.INFERENCE),
        }
        return calls.handlers(methods(service, like=OPEN_INFERENCE), served)

    async def _server_live(self, call: RpcCall, request: Any) -> Any:
        return ServerLiveResponse(live=True)

    async def _server_ready(self, call: RpcCall, request: Any) -> Any:
        return ServerReadyResponse(ready=not self._models.unready())

    async def _model_ready(self, call: RpcCall, request: Any) -> Any:
        found = self._models.find(_named(request.name, "name"), request.version or None)
        return ModelReadyResponse(ready=found.ready())

    async def _server_metadata(self, call: RpcCall, request: Any) -> Any:
        return ServerMetadataResponse(**server_metadata(repository=self._operations.model_api))

    async def _model_metadata(self, call: RpcCall, request: Any) -> Any:
        found = self._models.find(_named(request.name, "name"), request.version or None)
        return ModelMetadataResponse(**model_metadata(self._models, found))

    async def _infer(self, call: RpcCall, request: Any) -> Any:
        name = _named(request.model_name, "model_name")
        version = request.model_version or None
        self._models.find(name, version)  # a model that is not here is said before its tensors are read
        body, headers = await offload(request.ByteSize(), body_of, request)
        asked = Input(call.request_id, Kind.PREDICT, (Part("body", body),), headers, ENVELOPE)
        reply = checked(await self._ask.whole(name, version, asked, call.patience, call.metadata).answer())
        return await offload(len(reply.body), response_of, reply, raw=is_raw(request))


def _named(name: str, field: str) -> str:
    if not name:
        raise BadRequest(f"{field} is required.")
    return name
