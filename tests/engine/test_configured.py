"""What the configuration says of a model holds when it is registered, and who says so can be asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from models.stand_in import House, archive, request, said, turns
from torchkeeper.models.registry import Wish
from torchkeeper.serving.description import describe


def house_with(folder: Path, models: object) -> House:
    house = House(folder, f"models={json.dumps(models)}\n")
    archive(house.store, "m")
    return house


@pytest.mark.parametrize("size", [0, -1, "0", [1, 2]])
def test_a_batch_size_of_nothing_is_one_and_requests_are_answered(tmp_path: Path, size: object) -> None:
    house = house_with(tmp_path, {"m": {"1.0": {"batchSize": size, "minWorkers": "1"}}})

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar"))
        await found.pool.settled()
        assert (found.min_workers, found.about.config.batch_size) == (1, 1)
        asked = [found.dispatcher.submit(request()) for _ in range(2)]
        for _ in asked:
            await turns(lambda: any(process.held for process in house.launcher.living))
            for process in house.launcher.living:
                process.answer()
        await asyncio.gather(*asked)

    asyncio.run(run())


def test_who_says_what_is_told_to_those_who_ask(tmp_path: Path) -> None:
    house = house_with(tmp_path, {"m": {"1.0": {"batchSize": 4, "maxWorkers": 3, "startupTimeout": 7}}})

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1, batch_size=2)))
        plain = msgspec.to_builtins(describe(found))
        assert "settingOrigins" not in plain
        assert (plain["batchSize"], plain["maxWorkers"], plain["startupTimeout"]) == (2, 3, 7)
        told = msgspec.to_builtins(describe(found, origins=True))
        origins = told.pop("settingOrigins")
        assert told == plain
        named = ("batchSize", "minWorkers", "maxWorkers", "startupTimeout")
        assert {name: origins[name] for name in named} == {
            "batchSize": "request/batch_size",
            "minWorkers": "request/initial_workers",
            "maxWorkers": "models/m/1.0/maxWorkers",
            "startupTimeout": "models/m/1.0/startupTimeout",
        }
        assert origins["responseTimeout"] == "setting/default_response_timeout"
        await found.scale(2, 2)
        assert describe(found, origins=True).settingOrigins["maxWorkers"] == "request"

    asyncio.run(run())
