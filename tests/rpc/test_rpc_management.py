"""The management service: fields in, sentences and JSON out, on a registry without processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from models.stand_in import House, archive, said, turns
from rpc import spoken
from torchkeeper.models.registry import Wish
from torchkeeper.rpc.management import ManagementService
from torchkeeper.rpc.schema import MANAGEMENT
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.operations import Operations
from torchkeeper.serving.traffic import Traffic

Scene = Callable[[House, "Manager"], Awaitable[None]]
JAVA = "org.pytorch.serve"


class Manager:
    """A client of the service."""

    def __init__(self, client: spoken.Client) -> None:
        self._client = client

    async def said(self, name: str, **fields: Any) -> str:
        text: str = (await self._client.begin(MANAGEMENT, name, **fields)).msg
        return text

    async def refused(self, name: str, **fields: Any) -> tuple[str, ...]:
        """Code, message and the name of the exception."""
        code, details = await self._client.refusal(MANAGEMENT, name, **fields)
        return code, *details.split("\n")


def run(folder: Path, scene: Scene, config: str = "enable_model_api=true\n") -> list[int]:
    """Runs a scene; which of the changes were told."""
    changes: list[int] = []

    async def changed() -> None:
        changes.append(1)

    async def main() -> None:
        house = House(folder, config)
        operations = Operations(Ask(Traffic(house.models)), house.models, house.settings, changed)
        service = ManagementService(operations)
        async with spoken.served(lambda calls: {MANAGEMENT: service.handlers(calls)}) as client:
            await scene(house, Manager(client))
        await operations.stop()
        await house.models.stop(1.0)

    spoken.run(main)
    return changes


async def add(house: House, *names: str, workers: int = 0) -> None:
    for name in names:
        archive(house.store, name)
        await house.models.register(Wish(f"{name}-1.0.mar", given=said(initial_workers=workers)))


def test_a_registration_that_waits_tells_of_its_workers(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        archive(house.store, "m")
        done = await manager.said(
            "RegisterModel",
            url="m-1.0.mar",
            model_name="other",
            initial_workers=2,
            batch_size=3,
            max_batch_delay=7,
            response_timeout=9,
            synchronous=True,
        )
        assert done == 'Model "other" Version: 1.0 registered with 2 initial workers'
        found = house.models.find("other")
        assert found.loaded_workers() == 2
        config = found.about.config
        assert (config.batch_size, config.max_batch_delay, config.response_timeout) == (3, 7, 9)

    assert run(tmp_path, scene) == [1]


def test_a_registration_that_does_not_wait_says_so(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        archive(house.store, "m")
        said = await manager.said("RegisterModel", url="m-1.0.mar", initial_workers=1)
        assert said == "Processing worker updates..."
        await turns(lambda: house.models.find("m").loaded_workers() == 1)

    run(tmp_path, scene)


@pytest.mark.parametrize(("given", "count"), [(2, 2), (0, 1), (-1, 1)])
def test_a_number_that_is_0_or_less_counts_as_not_given(tmp_path: Path, given: int, count: int) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m")
        done = await manager.said("ScaleWorker", model_name="m", min_worker=given, synchronous=True)
        assert done == f"Workers scaled to {count} for model: m"
        assert house.models.find("m").loaded_workers() == count

    run(tmp_path, scene)


def test_a_version_that_is_named_is_scaled(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m")
        archive(house.store, "m", "2.0")
        await house.models.register(Wish("m-2.0.mar", given=said(initial_workers=0)))
        done = await manager.said(
            "ScaleWorker", model_name="m", model_version="2.0", min_worker=1, synchronous=True
        )
        assert done == "Workers scaled to 1 for model: m, version: 2.0"
        assert [found.loaded_workers() for found in house.models.versions("m")] == [0, 1]
        assert await manager.refused("ScaleWorker", model_name="m", min_worker=2, max_worker=1) == (
            "INVALID_ARGUMENT",
            "max_worker cannot be less than min_worker.",
            f"{JAVA}.http.BadRequestException",
        )

    run(tmp_path, scene)


@pytest.mark.parametrize(
    ("page", "names", "token"),
    [
        ({}, ["a", "b", "c"], None),
        ({"limit": 2}, ["a", "b"], "2"),
        ({"limit": 2, "next_page_token": 2}, ["c"], None),
        ({"limit": -1, "next_page_token": -1}, ["a", "b", "c"], None),
        ({"limit": 1000}, ["a", "b", "c"], None),
        ({"next_page_token": 9}, [], None),
    ],
)
def test_models_are_listed_by_the_page(
    tmp_path: Path, page: dict[str, int], names: list[str], token: str | None
) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "c", "a", "b")
        found = json.loads(await manager.said("ListModels", **page))
        assert [model["modelName"] for model in found["models"]] == names
        assert found.get("nextPageToken") == token

    run(tmp_path, scene)


def test_a_model_is_described_as_by_rest(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m", workers=1)
        archive(house.store, "m", "2.0")
        await house.models.register(Wish("m-2.0.mar", given=said(initial_workers=0)))
        text = await manager.said("DescribeModel", model_name="m")
        assert text.startswith('[\n  {\n    "modelName": "m",')
        for asked, versions in (("", ["1.0"]), ("2.0", ["2.0"]), ("all", ["1.0", "2.0"])):
            described = json.loads(await manager.said("DescribeModel", model_name="m", model_version=asked))
            assert [found["modelVersion"] for found in described] == versions
            assert all("customizedMetadata" not in found for found in described)

    run(tmp_path, scene)


def test_what_the_handler_says_of_itself_is_asked_for(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m", workers=1)
        asked = asyncio.ensure_future(manager.said("DescribeModel", model_name="m", customized=True))
        await turns(lambda: any(process.held for process in house.launcher.living))
        house.launcher.living[0].answer()
        (found,) = json.loads(await asked)
        assert found["customizedMetadata"] == {}  # "done" is no mapping

    run(tmp_path, scene)


def test_the_default_version_is_set(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m")
        archive(house.store, "m", "2.0")
        await house.models.register(Wish("m-2.0.mar", given=said(initial_workers=0)))
        done = await manager.said("SetDefault", model_name="m", model_version="2.0")
        assert done == 'Default version successfully updated for model "m" to "2.0"'
        assert house.models.default_version("m") == "2.0"
        assert await manager.refused("SetDefault", model_name="m") == (
            "INVALID_ARGUMENT",
            "Parameter model_version is required.",
            f"{JAVA}.http.BadRequestException",
        )

    assert run(tmp_path, scene) == [1]


def test_a_version_is_unregistered_and_by_default_the_default_one(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m")
        archive(house.store, "m", "2.0")
        await house.models.register(Wish("m-2.0.mar", given=said(initial_workers=0)))
        code, message, _ = await manager.refused("UnregisterModel", model_name="m")
        assert (code, message) == ("FAILED_PRECONDITION", "Cannot remove default version for model m")
        for version in ("2.0", ""):
            done = await manager.said("UnregisterModel", model_name="m", model_version=version)
            assert done == 'Model "m" unregistered'
        assert house.models.names() == ()

    run(tmp_path, scene)


@pytest.mark.parametrize("name", ["DescribeModel", "ScaleWorker", "SetDefault", "UnregisterModel"])
def test_a_model_must_be_named_and_be_here(tmp_path: Path, name: str) -> None:
    async def scene(house: House, manager: Manager) -> None:
        assert (await manager.refused(name))[:2] == ("INVALID_ARGUMENT", "Parameter model_name is required.")
        assert await manager.refused(name, model_name="nope", model_version="1.0") == (
            "NOT_FOUND",
            *("Model not found: nope", f"{JAVA}.archive.model.ModelNotFoundException"),
        )

    run(tmp_path, scene)


def test_without_the_model_api_models_neither_come_nor_go(tmp_path: Path) -> None:
    async def scene(house: House, manager: Manager) -> None:
        await add(house, "m")
        archive(house.store, "n")
        disabled = ("PERMISSION_DENIED", "Model API disabled", f"{JAVA}.archive.model.ModelException")
        assert await manager.refused("RegisterModel", url="n-1.0.mar") == disabled
        assert await manager.refused("UnregisterModel", model_name="m") == disabled
        assert house.models.names() == ("m",)
        assert await manager.said("ScaleWorker", model_name="m", min_worker=1, synchronous=True)
        assert await manager.said("SetDefault", model_name="m", model_version="1.0")

    run(tmp_path, scene, config="")
