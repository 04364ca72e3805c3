"""What KServe's v2 URLs mean: the Open Inference Protocol, and Triton's model repository over it.

Source: Open Inference Protocol v2 over REST; Triton's model repository extension, with KServe's answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from torchkeeper.api.call import Call, Handler
from torchkeeper.api.kserve import compact, infer, model_ready
from torchkeeper.api.routes import Endpoint
from torchkeeper.errors import MethodNotAllowed
from torchkeeper.models.registry import Models
from torchkeeper.models.version import ModelVersion
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.description import TORCHSERVES_EXTENSIONS, model_metadata, server_metadata
from torchkeeper.serving.operations import Operations
from torchkeeper.wire.messages import Reply


class OpenInferenceApi:
    """The endpoints of KServe v2."""

    def __init__(self, ask: Ask, models: Models, operations: Operations) -> None:
        self._ask = ask
        self._models = models
        self._operations = operations

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.V2_SERVER: self._server,
            Endpoint.V2_LIVE: self._live,
            Endpoint.V2_READY: self._ready,
            Endpoint.V2_LIST: self._list,
            Endpoint.V2_MODEL: self._model,
            Endpoint.V2_MODEL_READY: self._model_ready,
            Endpoint.V2_INFER: self._infer,
            Endpoint.REPOSITORY_INDEX: self._index,
            Endpoint.REPOSITORY_LOAD: self._load,
            Endpoint.REPOSITORY_UNLOAD: self._unload,
        }

    async def _server(self, call: Call) -> Reply:
        said = server_metadata(repository=self._operations.model_api)
        return compact(said | {"extenstion": TORCHSERVES_EXTENSIONS})

    async def _live(self, call: Call) -> Reply:
        return compact({"live": True})

    async def _ready(self, call: Call) -> Reply:
        why = self._models.unready()
        if why:
            return compact({"ready": False, "error": "; ".join(why)}, 503)
        return compact({"ready": True})

    async def _list(self, call: Call) -> Reply:
        return compact({"models": self._models.names()})

    async def _model(self, call: Call) -> Reply:
        return compact(model_metadata(self._models, self._find(call)))

    async def _model_ready(self, call: Call) -> Reply:
        return model_ready(self._find(call))

    async def _infer(self, call: Call) -> Reply:
        return await infer(call, self._ask, "kservev2")

    def _find(self, call: Call) -> ModelVersion:
        return self._models.find(str(call.match.model), call.match.version)

    # --- the repository ----------------------------------------------------------------------------------

    async def _index(self, call: Call) -> Reply:
        await self._check(call)
        return compact([_indexed(found) for found in self._models])

    async def _load(self, call: Call) -> Reply:
        await self._check(call)
        name = str(call.match.model)
        await self._operations.load(name)
        return compact({"name": name, "load": True})

    async def _unload(self, call: Call) -> Reply:
        await self._check(call)
        name = str(call.match.model)
        await self._operations.unload(name)
        return compact({"name": name, "unload": True})

    async def _check(self, call: Call) -> None:
        """Takes the body, whose options mean nothing here, and refuses where the model API is off."""
        await call.body()
        if not self._operations.model_api:
            raise MethodNotAllowed(())


def _indexed(found: ModelVersion) -> dict[str, str]:
    ready = found.ready()
    reason = "" if ready else found.readiness()
    state = "READY" if ready else "UNAVAILABLE"
    return {"name": found.name, "version": found.version, "state": state, "reason": reason}
