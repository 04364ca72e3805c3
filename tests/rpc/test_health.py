"""The health service: the server, its services and its models, asked once, all at once, and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from models.stand_in import House, archive, said, turns
from rpc import spoken
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.models.registry import Wish
from torchkeeper.rpc import health
from torchkeeper.rpc.calls import Calls
from torchkeeper.rpc.health import NOT_SERVING, SERVING, HealthService
from torchkeeper.rpc.schema import HEALTH, INFERENCE, message
from torchkeeper.serving.books import Books

HealthCheckRequest = message("grpc.health.v1.HealthCheckRequest")
Scene = Callable[[House, asyncio.Event, spoken.Client], Awaitable[None]]


def run(folder: Path, scene: Scene) -> None:
    async def main() -> None:
        house, stopping = House(folder), asyncio.Event()
        archive(house.store, "m")
        service = HealthService(house.models, stopping)
        async with spoken.served(lambda calls: {HEALTH: service.handlers(calls, (INFERENCE,))}) as client:
            await scene(house, stopping, client)
        await house.models.stop(1.0)

    spoken.run(main)


async def checked(client: spoken.Client, service: str) -> int:
    status: int = (await client.begin(HEALTH, "Check", service=service)).status
    return status


async def add(house: House, workers: int = 1) -> None:
    found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=workers)))
    await turns(lambda: found.loaded_workers() == workers or house.launcher.load_error is not None)


@pytest.mark.parametrize("name", ["", INFERENCE])
def test_the_server_and_its_services_are_as_ready_as_its_start_up_models(tmp_path: Path, name: str) -> None:
    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        assert await checked(client, name) == SERVING
        house.launcher.load_error = ""  # workers that never say that they have loaded
        await house.models.load_at_start(None, "m-1.0.mar")
        assert await checked(client, name) == NOT_SERVING

    run(tmp_path, scene)


def test_a_model_serves_once_it_has_workers(tmp_path: Path) -> None:
    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        assert await client.refusal(HEALTH, "Check", service="m") == (
            "NOT_FOUND",
            "Neither a model nor a service: m",
        )
        await add(house, workers=0)
        assert await checked(client, "m") == NOT_SERVING
        await house.models.find("m").scale(1, 1)
        await turns(house.models.find("m").ready)
        assert await checked(client, "m") == SERVING

    run(tmp_path, scene)


def test_a_list_has_the_server_its_services_and_its_models(tmp_path: Path) -> None:
    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        await add(house, workers=0)
        found = (await client.begin(HEALTH, "List")).statuses
        assert {name: found[name].status for name in found} == {
            "": SERVING,
            INFERENCE: SERVING,
            "m": NOT_SERVING,
        }

    run(tmp_path, scene)


def test_nothing_serves_when_the_server_stops(tmp_path: Path) -> None:
    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        await add(house)
        stopping.set()
        for name in ("", INFERENCE, "m"):
            assert await checked(client, name) == NOT_SERVING

    run(tmp_path, scene)


def test_a_watch_tells_changes_and_ends_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "WATCH", 0.001)

    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        watch = client.begin(HEALTH, "Watch", service="m")
        said = [(await watch.read()).status]
        await add(house)
        said.append((await watch.read()).status)
        stopping.set()
        while (change := await watch.read()) is not grpc.aio.EOF:
            said.append(change.status)
        assert said == [health.SERVICE_UNKNOWN, SERVING, NOT_SERVING]

    run(tmp_path, scene)


def test_a_stop_is_told_at_once_and_to_watchers_who_come_later_too(tmp_path: Path) -> None:
    async def scene(house: House, stopping: asyncio.Event, client: spoken.Client) -> None:
        stopping.set()
        watch = client.begin(HEALTH, "Watch")
        assert [change.status async for change in watch] == [NOT_SERVING]

    run(tmp_path, scene)


class Watcher:
    """In the place of gRPC's context: keeps what is written."""

    def __init__(self) -> None:
        self.said: list[int] = []

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def set_trailing_metadata(self, metadata: Any) -> None: ...

    async def write(self, message: Any) -> None:
        self.said.append(message.status)


@pytest.mark.parametrize("turns", range(5))
def test_nothing_is_written_to_a_watcher_who_leaves_while_the_server_stops(
    tmp_path: Path, turns: int
) -> None:
    async def main() -> None:
        stopping, watcher = asyncio.Event(), Watcher()
        service = HealthService(House(tmp_path).models, stopping)
        watch = service.handlers(Calls(Books(Ledger())), ())["Watch"].unary_stream
        task = asyncio.ensure_future(watch(HealthCheckRequest(), watcher))
        await asyncio.sleep(0)
        stopping.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        before = list(watcher.said)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        assert watcher.said == before

    spoken.run(main)
