"""A version's life: workers come and go, and its end keeps to its deadline whatever else is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.stand_in import House, archive, request, said, turns
from torchkeeper.errors import CleaningTimedOut, ModelVersionNotFound, ServiceUnavailable, WorkerDied
from torchkeeper.models.registry import Wish
from torchkeeper.models.version import ModelVersion


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    archive(house.store, "m")
    return house


async def loaded(house: House, workers: int = 1) -> ModelVersion:
    found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=workers)))
    await found.pool.settled()
    return found


def test_more_workers_and_fewer(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        assert found.ready()
        assert found.healthy()
        for count in (3, 1, 2):
            await found.scale(count, count)
            await found.pool.settled()
            assert (found.loaded_workers(), found.min_workers) == (count, count)

    asyncio.run(run())
    assert len(house.launcher.processes) == 4


def test_scaled_to_nothing_it_answers_what_it_took(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        taken = found.dispatcher.submit(request())
        await turns(lambda: bool(house.launcher.processes[0].held))
        scaling = asyncio.create_task(found.scale(0, 0))
        await turns(lambda: found.max_workers == 0)
        with pytest.raises(ServiceUnavailable):
            found.dispatcher.submit(request())
        assert not scaling.done()
        house.launcher.processes[0].answer()
        await scaling
        assert (await taken).body == b"done"
        assert not found.ready()
        await found.scale(1, 1)
        await turns(found.ready)

    asyncio.run(run())


def test_its_end_answers_what_it_took(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        taken = found.dispatcher.submit(request())
        await turns(lambda: bool(house.launcher.processes[0].held))
        closing = asyncio.create_task(found.close(60.0))
        await asyncio.sleep(0)
        house.launcher.processes[0].answer()
        await closing
        assert (await taken).body == b"done"

    asyncio.run(run())
    assert house.launcher.living == house.meters.open == []


def test_its_end_keeps_to_the_deadline(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        taken = found.dispatcher.submit(request())
        await turns(lambda: bool(house.launcher.processes[0].held))
        with pytest.raises(CleaningTimedOut):
            await found.close(0.0)
        with pytest.raises(WorkerDied):
            await taken

    asyncio.run(run())
    assert house.launcher.living == house.meters.open == []


def test_nobody_waits_for_an_end_that_is_cancelled(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        taken = found.dispatcher.submit(request())
        await turns(lambda: bool(house.launcher.processes[0].held))
        closing = asyncio.create_task(found.close(60.0))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(WorkerDied):
            await taken

    asyncio.run(run())
    assert house.launcher.living == house.meters.open == []


def test_nothing_begins_after_the_end(house: House) -> None:
    async def run() -> None:
        found = await loaded(house)
        await found.close(1.0)
        with pytest.raises(ModelVersionNotFound):
            await found.scale(1, 1)
        assert house.launcher.living == []

    asyncio.run(run())
