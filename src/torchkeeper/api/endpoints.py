"""What answers each URL: the APIs of one server, put together; a new one is a line here."""

from __future__ import annotations

from dataclasses import dataclass

from torchkeeper.api.body import USUAL, FormLimits
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


@dataclass(frozen=True)
class ApiSettings:
    """What the settings say of the APIs."""

    #: Bytes.
    max_request_size: int
    #: Whether /ping waits for the models that were named at start.
    ping_ready: bool = False
    #: The envelope of Vertex AI's requests; None where the server does not run there.
    vertex_envelope: str | None = None
    forms: FormLimits = USUAL


def served(
    ask: Ask,
    models: Models,
    operations: Operations,
    tokens: Tokens | None,
    metrics: MetricsApi,
    settings: ApiSettings,
) -> dict[Endpoint, Handler]:
    """The handlers of all endpoints but for those that describe a listener; no `tokens`: none are renewed."""
    renewal = TokenApi(tokens, settings.forms).endpoints() if tokens is not None else {}
    envelope, size = settings.vertex_envelope, settings.max_request_size
    vertex = VertexApi(ask, models, envelope).endpoints() if envelope is not None else {}
    return {
        **InferenceApi(ask, models, size, settings.forms, ping_ready=settings.ping_ready).endpoints(),
        **ManagementApi(operations, settings.forms).endpoints(),
        **KServeV1Api(ask, models).endpoints(),
        **OpenInferenceApi(ask, models, operations).endpoints(),
        **metrics.endpoints(),
        **renewal,
        **vertex,
    }
