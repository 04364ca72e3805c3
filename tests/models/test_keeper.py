"""What is served is written down, and a start goes on from there; without processes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.stand_in import House, archive, turns
from shortage import no_threads
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.config.snapshot import newest_snapshot, snapshot_folder
from torchkeeper.errors import SettingsError
from torchkeeper.models.builder import Builder
from torchkeeper.models.keeper import Keeper
from torchkeeper.models.registry import Models, Wish


def kept(house: House) -> list[tuple[str, str, int, bool]]:
    """Name, version, workers, and whether it is the default one, of all that is served."""
    models = house.models
    return sorted(
        (found.name, found.version, found.min_workers, models.default_version(found.name) == found.version)
        for found in models
    )


async def serve(house: House) -> None:
    """Two versions of one model, the second the default one with two workers."""
    for version in ("1.0", "2.0"):
        archive(house.store, "m", version)
        await house.models.register(Wish(f"m-{version}.mar"))
    await house.models.find("m", "1.0").scale(1, 1)
    await house.models.find("m", "2.0").scale(2, 3)
    house.models.set_default("m", "2.0")
    await turns(lambda: len(house.launcher.living) == 3)


def again(house: House, folder: Path) -> House:
    """The same server, started from its newest snapshot."""
    command_line = CommandLine(model_store=house.store)
    house.settings = load_settings(command_line, {"TEMP": str(house.temp)}, folder)[0]
    launcher: Any = house.launcher
    house.models = Models(house.settings, Builder(house.settings, {}, launcher, house.sinks, 0))
    return house


def test_a_start_goes_on_from_what_was_served(tmp_path: Path) -> None:
    async def scene() -> None:
        house = House(tmp_path)
        await serve(house)
        before = kept(house)
        await Keeper(house.settings, house.models).save("shutdown")
        await house.models.stop(0.0)
        house = again(house, tmp_path)
        await Keeper(house.settings, house.models).restore()
        assert kept(house) == before == [("m", "1.0", 1, False), ("m", "2.0", 2, True)]
        assert house.models.find("m", "2.0").max_workers == 3
        await house.models.stop(0.0)

    asyncio.run(scene())


def test_a_change_that_cannot_be_written_down_is_made_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        house = House(tmp_path)
        with no_threads():
            await Keeper(house.settings, house.models).changed()
        await house.models.stop(0.0)

    asyncio.run(scene())
    assert newest_snapshot(snapshot_folder(tmp_path / "logs")) is None
    assert "the snapshot cannot be written: no thread can be started" in caplog.text


def test_a_change_during_a_start_leaves_the_last_snapshot_the_newest(tmp_path: Path) -> None:
    async def scene() -> None:
        house = House(tmp_path)
        keeper = Keeper(house.settings, house.models)
        folder = snapshot_folder(house.settings.log_location)
        house.models.starting = True
        await keeper.changed()
        assert newest_snapshot(folder) is None
        house.models.starting = False
        await keeper.changed()
        assert newest_snapshot(folder) is not None
        await house.models.stop(0.0)

    asyncio.run(scene())


def test_a_model_that_asks_for_what_is_not_here_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    """A snapshot may be TorchServe's, which has what the model asks for."""

    async def scene() -> None:
        house = House(tmp_path)
        await serve(house)
        await Keeper(house.settings, house.models).save("shutdown")
        await house.models.stop(0.0)
        archive(house.store, "m", "1.0", config="sequenceBatching: true\n")
        house = again(house, tmp_path)
        await Keeper(house.settings, house.models).restore()
        assert kept(house) == [("m", "2.0", 2, True)]
        (why, *_) = house.models.unready()
        assert why.startswith("model m-1.0.mar could not be loaded at start: m-1.0.mar: sequenceBatching in ")
        await house.models.stop(0.0)

    asyncio.run(scene())


def test_an_archive_that_is_gone_keeps_the_server_from_starting(tmp_path: Path) -> None:
    async def scene() -> None:
        house = House(tmp_path)
        await serve(house)
        await Keeper(house.settings, house.models).changed()
        await house.models.stop(0.0)
        (house.store / "m-1.0.mar").unlink()
        house = again(house, tmp_path)
        with pytest.raises(SettingsError, match=r"m-1\.0\.mar"):
            await Keeper(house.settings, house.models).restore()
        assert kept(house) == []
        await house.models.stop(0.0)

    asyncio.run(scene())


def test_without_snapshots_nothing_is_written_or_restored(tmp_path: Path) -> None:
    async def scene() -> None:
        house = House(tmp_path)
        await serve(house)
        settings = replace(house.settings, config_snapshots=False)
        keeper = Keeper(settings, house.models)
        before = kept(house)
        await keeper.save("shutdown")
        await keeper.restore()
        assert kept(house) == before
        assert not (tmp_path / "logs" / "config").exists()
        await house.models.stop(0.0)

    asyncio.run(scene())
