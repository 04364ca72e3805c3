"""What answers each URL: the APIs of one server, put together; a new one is a line here."""

from __future__ import annotations

from torchkeeper.api.call import Handler
from torchkeeper.api.inference import InferenceApi
from torchkeeper.api.kserve import KServeV1Api
from torchkeeper.api.management import ManagementApi
from torchkeeper.api.metrics import MetricsApi
from torchkeeper.api.openinference import OpenInferenceApi
from torchkeeper.api.routes import Endpoint
from torchkeeper.api.token import TokenApi
from torchkeeper.api.vertex import VertexApi
from torchkeeper.keys.tokens import Tokens
from torchkeeper.models.registry import Models
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.operations import Operations


def served(
    ask: Ask,
    models: Models,
    operations: Operations,
    tokens: Tokens | None,
    metrics: MetricsApi,
    *,
    max_request_size: int,
    vertex_envelope: str | None = None,
    ping_ready: bool = False,
) -> dict[Endpoint, Handler]:
    """The handlers of all endpoints but for those that describe a listener.

    No `tokens`: none are renewed; no `vertex_envelope`: the server does not run on Vertex AI.
    """
    renewal = TokenApi(tokens).endpoints() if tokens is not None else {}
    vertex = VertexApi(ask, models, vertex_envelope).endpoints() if vertex_envelope is not None else {}
    return {
        **InferenceApi(ask, models, max_request_size, ping_ready=ping_ready).endpoints(),
        **ManagementApi(operations).endpoints(),
        **KServeV1Api(ask, models).endpoints(),
        **OpenInferenceApi(ask, models, operations).endpoints(),
        **metrics.endpoints(),
        **renewal,
        **vertex,
    }
