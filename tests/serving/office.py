"""Operations over models whose workers are no processes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.calling import Answering
from models.stand_in import House, archive
from torchkeeper.serving.operations import Operations
from torchkeeper.wire.messages import Reply


class Office:
    """Operations over a house of models; the handlers' words are those of a stand-in."""

    def __init__(self, folder: Path, patience: float = 30.0) -> None:
        self.house = House(folder)
        self.models = self.house.models
        self.ask: Any = Answering(Reply(b"{}"))
        settings = replace(self.house.settings, unregister_model_timeout=patience)
        self.operations = Operations(self.ask, self.models, settings, self._changed)
        #: Names and versions that were served at every change.
        self.changes: list[list[tuple[str, str]]] = []

    async def _changed(self) -> None:
        self.changes.append([(found.name, found.version) for found in self.models])

    def archive(self, name: str, version: str = "1.0") -> None:
        archive(self.house.store, name, version)

    async def describe(self, name: str = "m", version: str | None = None, **how: Any) -> list[Any]:
        asked = {"customized": False, "request_id": "id-1"} | how
        return await self.operations.describe(name, version, **asked)

    async def close(self) -> None:
        await self.operations.stop()
        await self.models.stop(0.0)


def scene(test: Callable[[Office], Awaitable[None]]) -> Callable[[Path], None]:
    """A test that is a coroutine over an office of its own."""

    async def whole(folder: Path) -> None:
        office = Office(folder)
        try:
            async with asyncio.timeout(30):
                await test(office)
        finally:
            await office.close()

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        asyncio.run(whole(tmp_path))

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest hands in what the signature names
    return run
