"""What a listener says of itself: its own document, a model's, and the page."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from api.calling import JSON, answer, call
from torchkeeper.api.about import ApiDescription
from torchkeeper.api.openapi import document, page
from torchkeeper.errors import ModelNotFound
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Reply


class Registry:
    """In the place of the models: one, `m`."""

    def find(self, name: str) -> Any:
        if name != "m":
            raise ModelNotFound(name)
        return SimpleNamespace(name=name)


def asked(method: str, target: str, apis: Api) -> Reply:
    models: Any = Registry()
    return asyncio.run(answer(ApiDescription(apis, models).endpoints(), call(method, target, apis=apis)))


@pytest.mark.parametrize("apis", [Api.INFERENCE, Api.MANAGEMENT, Api.METRICS, Api.INFERENCE | Api.METRICS])
@pytest.mark.parametrize(("method", "target"), [("OPTIONS", "/"), ("GET", "/api-description")])
def test_a_listener_describes_its_own_apis(method: str, target: str, apis: Api) -> None:
    reply = asked(method, target, apis)
    assert (reply.status, reply.content_type) == (200, JSON)
    assert reply.body.startswith(b'{\n  "openapi"')
    assert json.loads(reply.body) == json.loads(json.dumps(document(apis)))


@pytest.mark.parametrize(("folder", "apis"), [("/predictions", Api.INFERENCE), ("/models", Api.MANAGEMENT)])
def test_the_document_of_one_model(folder: str, apis: Api) -> None:
    said = json.loads(asked("OPTIONS", f"{folder}/m", apis).body)
    assert said == json.loads(json.dumps(document(apis, "m")))
    with pytest.raises(ModelNotFound):
        asked("OPTIONS", f"{folder}/none", apis)


def test_the_page_is_the_document_to_read() -> None:
    reply = asked("GET", "/docs", Api.MANAGEMENT)
    assert reply == Reply(page(Api.MANAGEMENT).encode(), 200, "", {}, "text/html; charset=utf-8")
