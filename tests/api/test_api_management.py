"""The management URLs: which operation with which parameters, and the statuses of its answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from api.calling import JSON, answer, call
from torchkeeper.api.management import ManagementApi, json_reply
from torchkeeper.errors import BadRequest, Conflict, MethodNotAllowed
from torchkeeper.serving.apis import Api
from torchkeeper.serving.operations import Change
from torchkeeper.serving.parameters import Page, Register, Scale
from torchkeeper.wire.messages import Reply

DONE = Change("done")


class Noted:
    """In the place of Operations: notes what it is asked to do."""

    def __init__(self, done: Change | Exception = DONE, *, model_api: bool = True) -> None:
        self.model_api = model_api
        self.asked: list[tuple[Any, ...]] = []
        self._done = done

    def page(self, page: Page) -> dict[str, Any]:
        self.asked.append(("page", page))
        return {"models": []}

    def ready(self, name: str) -> tuple[str, bool]:
        self.asked.append(("ready", name))
        return name, False

    async def describe(self, name: str, version: str | None, **how: Any) -> list[dict[str, str]]:
        self.asked.append(("describe", name, version, how))
        return [{"modelName": name}]

    async def register(self, wanted: Any) -> Change:
        return self._change("register", wanted)

    async def scale(self, name: str, version: str | None, wanted: Scale) -> Change:
        return self._change("scale", name, version, wanted)

    async def set_default(self, name: str, version: str) -> Change:
        return self._change("set default", name, version)

    async def unregister(self, name: str, version: str | None) -> Change:
        return self._change("unregister", name, version)

    def _change(self, *what: Any) -> Change:
        self.asked.append(what)
        if isinstance(self._done, Exception):
            raise self._done
        return self._done


def ask(
    operations: Noted, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Reply:
    api: Any = operations
    request = call(method, target, body, headers, apis=Api.MANAGEMENT)
    return asyncio.run(answer(ManagementApi(api).endpoints(), request))


HOW = {"customized": False, "request_id": "id-1", "origins": False}


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        ("GET", "/models", ("page", Page())),
        ("GET", "/models?limit=3&next_page_token=2", ("page", Page(3, 2))),
        ("GET", "/models?limit=3&nextPageToken=2", ("page", Page(3, nextPageToken=2))),
        ("GET", "/models/m", ("describe", "m", None, HOW)),
        ("GET", "/models/m/2.0?customized=true", ("describe", "m", "2.0", HOW | {"customized": True})),
        ("GET", "/models/m/all?setting_origins=true", ("describe", "m", "all", HOW | {"origins": True})),
        ("GET", "/v1/models/m", ("ready", "m")),
        ("POST", "/models?url=a.mar&batch_size=3", ("register", Register(url="a.mar", batch_size=3))),
        ("PUT", "/models/m?min_worker=2", ("scale", "m", None, Scale(2))),
        ("PUT", "/models/m/2.0?max_worker=3", ("scale", "m", "2.0", Scale(max_worker=3))),
        ("PUT", "/models/m?model_version=3", ("scale", "m", "3", Scale(model_version="3"))),
        ("PUT", "/models/m/2.0?model_version=3", ("scale", "m", "2.0", Scale(model_version="3"))),
        ("PUT", "/models/m/2.0/set-default", ("set default", "m", "2.0")),
        ("DELETE", "/models/m", ("unregister", "m", None)),
        ("DELETE", "/models/m/2.0", ("unregister", "m", "2.0")),
    ],
)
def test_what_a_url_asks_for(method: str, target: str, wanted: tuple[Any, ...]) -> None:
    operations = Noted()
    reply = ask(operations, method, target)
    assert operations.asked == [wanted]
    assert (reply.status, reply.content_type) == (200, JSON)


def test_parameters_in_a_json_body_go_before_the_querys() -> None:
    operations = Noted()
    ask(operations, "POST", "/models?url=a.mar&batch_size=3", b'{"batch_size": 4}', {"Content-Type": JSON})
    assert operations.asked == [("register", Register(url="a.mar", batch_size=4))]


@pytest.mark.parametrize(
    ("method", "target", "named"),
    [
        ("GET", "/models?limit=x", "limit"),
        ("GET", "/models/m?customized=maybe", "customized"),
        ("POST", "/models?url=a.mar&initial_workers=-1", "initial_workers"),
        ("PUT", "/models/m?min_worker=x", "min_worker"),
    ],
)
def test_a_value_that_does_not_fit_asks_for_nothing(method: str, target: str, named: str) -> None:
    operations = Noted()
    with pytest.raises(BadRequest, match=f"parameter {named}:"):
        ask(operations, method, target)
    assert operations.asked == []


CHANGES = [
    ("POST", "/models?url=a.mar"),
    ("PUT", "/models/m"),
    ("PUT", "/models/m/2.0/set-default"),
    ("DELETE", "/models/m"),
]


@pytest.mark.parametrize(("method", "target"), CHANGES)
def test_the_sentence_and_whether_it_is_done(method: str, target: str) -> None:
    for complete, status in ((True, 200), (False, 202)):
        reply = ask(Noted(Change("so", complete)), method, target)
        assert reply == Reply(b'{\n  "status": "so"\n}\n', status, "", {}, JSON)
    with pytest.raises(Conflict):
        ask(Noted(Conflict("m", "2.0")), method, target)


@pytest.mark.parametrize(
    ("method", "target", "others"),
    [("POST", "/models?url=a.mar", "GET"), ("DELETE", "/models/m", "GET, PUT, OPTIONS")],
)
def test_models_come_and_go_only_where_that_is_allowed(method: str, target: str, others: str) -> None:
    operations = Noted(model_api=False)
    with pytest.raises(MethodNotAllowed) as raised:
        ask(operations, method, target)
    assert raised.value.headers == {"Allow": others}
    assert operations.asked == []
    for allowed in ("PUT", "GET"):
        assert ask(operations, allowed, "/models/m").status == 200


def test_readiness_of_a_model() -> None:
    assert json.loads(ask(Noted(), "GET", "/v1/models/m").body) == {"name": "m", "ready": False}


def test_answers_of_the_server_itself_have_torchserves_form() -> None:
    class Some(msgspec.Struct):
        a: int
        b: int | msgspec.UnsetType = msgspec.UNSET

    assert json_reply([Some(1)], 202) == Reply(b'[\n  {\n    "a": 1\n  }\n]\n', 202, "", {}, JSON)
