"""KServe v2: what server and models say of themselves, whom a request asks, and the model repository."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api.calling import JSON, Answering, answer, call
from models.stand_in import House, archive, registered
from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.api.openinference import OpenInferenceApi
from torchkeeper.errors import MethodNotAllowed, ModelNotFound, ModelVersionNotFound, ServiceUnavailable
from torchkeeper.serving.apis import Api
from torchkeeper.serving.operations import Operations
from torchkeeper.wire.messages import Kind, Part, Reply


class Room:
    """The API over a house of models, and an Ask that answers `7`."""

    def __init__(self, folder: Path, config: str = "enable_model_api=true\n") -> None:
        self.house = House(folder, config)
        self.ask: Any = Answering(Reply(b"7"))
        self.changes = 0
        operations = Operations(self.ask, self.house.models, self.house.settings, self._changed)
        self.endpoints = OpenInferenceApi(self.ask, self.house.models, operations).endpoints()

    async def _changed(self) -> None:
        self.changes += 1

    async def get(self, target: str) -> Reply:
        return await answer(self.endpoints, call("GET", target))

    async def post(self, target: str, body: bytes = b"") -> Reply:
        return await answer(self.endpoints, call("POST", target, body, apis=Api.INFERENCE | Api.MANAGEMENT))

    async def index(self) -> list[tuple[str, str, str, str]]:
        rows = json.loads((await self.post("/v2/repository/index")).body)
        return [(row["name"], row["version"], row["state"], row["reason"]) for row in rows]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def run(room: Room, scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            async with asyncio.timeout(30):
                await scene()
        finally:
            await room.house.models.stop(0.0)

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("config", "extensions"),
    [
        ("", ["binary_tensor_data", "kserve", "kubeflow"]),
        ("enable_model_api=true\n", ["binary_tensor_data", "model_repository", "kserve", "kubeflow"]),
    ],
)
def test_what_the_server_says_of_itself(tmp_path: Path, config: str, extensions: list[str]) -> None:
    room = Room(tmp_path, config)
    reply = asyncio.run(room.get("/v2"))
    assert reply.content_type == JSON
    assert json.loads(reply.body) == {
        "name": "Torchserve",
        "version": TORCHSERVE_VERSION,
        "extensions": extensions,
        "extenstion": ["kserve", "kubeflow"],
    }


def test_live_whatever_the_models_do_and_ready_when_they_all_serve(room: Room) -> None:
    async def scene() -> None:
        assert (await room.get("/v2/health/ready")) == Reply(b'{"ready":true}', 200, "", {}, JSON)
        await room.house.models.load_at_start(None, "lost.mar")
        await room.house.models.load_at_start("gone", "gone.mar")
        said = await room.get("/v2/health/ready")
        assert said.status == 503
        why = json.loads(said.body)
        assert why["ready"] is False
        assert [part.split(":")[0] for part in why["error"].split("; ")] == [
            "model lost.mar could not be loaded at start",
            "model gone.mar could not be loaded at start",
        ]
        assert (await room.get("/v2/health/live")).body == b'{"live":true}'

    run(room, scene)


def test_models_and_their_versions(room: Room) -> None:
    async def scene() -> None:
        archive(room.house.store, "m", config="v2Inputs: [{name: a, datatype: FP32, shape: [-1]}]\n")
        for version in ("1.0", "2.0"):
            await registered(room.house, "m", version, workers=0)
        assert (await room.get("/v2/models")).body == b'{"models":["m"]}'
        said = json.loads((await room.get("/v2/models/m")).body)
        assert said == {
            "name": "m",
            "versions": ["1.0", "2.0"],
            "platform": "pytorch",
            "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1]}],
            "outputs": [],
        }
        other = json.loads((await room.get("/v2/models/m/versions/2.0")).body)
        assert other == said | {"inputs": []}
        with pytest.raises(ModelNotFound):
            await room.get("/v2/models/none")
        with pytest.raises(ModelVersionNotFound):
            await room.get("/v2/models/m/versions/3.0")

    run(room, scene)


def test_a_version_is_ready_for_itself(room: Room) -> None:
    async def scene() -> None:
        await registered(room.house, "m", "1.0")
        await registered(room.house, "m", "2.0", workers=0)
        for target in ("/v2/models/m/ready", "/v2/models/m/versions/1.0/ready"):
            assert (await room.get(target)).body == b'{"name":"m","ready":true}'
        with pytest.raises(ServiceUnavailable, match="Model with name m is not ready"):
            await room.get("/v2/models/m/versions/2.0/ready")

    run(room, scene)


@pytest.mark.parametrize(
    ("target", "version", "kind"),
    [
        ("/v2/models/m/infer", None, Kind.PREDICT),
        ("/v2/models/m/versions/2.0/infer", "2.0", Kind.PREDICT),
        ("/v2/models/m/explain", None, Kind.EXPLAIN),
        ("/v2/models/m/versions/2.0/explain", "2.0", Kind.EXPLAIN),
    ],
)
def test_whom_a_request_asks_and_for_what(room: Room, target: str, version: str | None, kind: Kind) -> None:
    assert asyncio.run(room.post(target, b"{}")) == Reply(b"7")
    ((name, wanted, request),) = room.ask.whole_ones
    assert (name, wanted) == ("m", version)
    assert (request.kind, request.envelope, request.parts) == (kind, "kservev2", (Part("body", b"{}"),))


def test_the_repository(room: Room) -> None:
    async def scene() -> None:
        archive(room.house.store, "m").rename(room.house.store / "m.mar")
        assert await room.index() == []
        load = await room.post("/v2/repository/models/m/load", b'{"parameters": {}}')
        assert load == Reply(b'{"name":"m","load":true}', 200, "", {}, JSON)
        assert await room.index() == [("m", "1.0", "READY", "")]
        (of_m,) = room.house.models
        await room.post("/v2/repository/models/m/load")
        assert list(room.house.models) == [of_m]
        await registered(room.house, "m", "2.0", workers=0)
        assert (await room.index())[1] == ("m", "2.0", "UNAVAILABLE", "0 of 1 workers are ready")
        unload = await room.post("/v2/repository/models/m/unload")
        assert unload == Reply(b'{"name":"m","unload":true}', 200, "", {}, JSON)
        assert await room.index() == []
        for verb in ("load", "unload"):
            with pytest.raises(ModelNotFound):
                await room.post(f"/v2/repository/models/none/{verb}")

    run(room, scene)


@pytest.mark.parametrize("target", ["index", "models/m/load", "models/m/unload"])
def test_the_repository_is_closed_where_the_model_api_is_off(tmp_path: Path, target: str) -> None:
    room = Room(tmp_path, "")
    archive(room.house.store, "m").rename(room.house.store / "m.mar")
    with pytest.raises(MethodNotAllowed):
        asyncio.run(room.post(f"/v2/repository/{target}"))
    assert room.house.models.names() == ()
    assert room.changes == 0
