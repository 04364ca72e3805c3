"""Endpoints that say what a listener serves: the OpenAPI document, whole or of one model, and its page."""

from __future__ import annotations

from collections.abc import Mapping

from torchkeeper.api.call import Call, Handler
from torchkeeper.api.management import json_reply
from torchkeeper.api.openapi import document, page
from torchkeeper.api.routes import Endpoint
from torchkeeper.models.registry import Models
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Reply


class ApiDescription:
    """What the listener of some APIs says of itself."""

    def __init__(self, apis: Api, models: Models) -> None:
        self._apis = apis
        self._models = models

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this serves."""
        return {
            Endpoint.API_DESCRIPTION: self._describe,
            Endpoint.MODEL_API_DESCRIPTION: self._describe_model,
            Endpoint.DOCS: self._page,
        }

    async def _describe(self, call: Call) -> Reply:
        return json_reply(document(self._apis))

    async def _describe_model(self, call: Call) -> Reply:
        return json_reply(document(self._apis, self._models.find(str(call.match.model)).name))

    async def _page(self, call: Call) -> Reply:
        return Reply(page(self._apis).encode(), 200, "", {}, "text/html; charset=utf-8")
