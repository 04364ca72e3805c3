"""What tests of the engine's middle stand on: archives, and a launcher whose workers are no processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchkeeper.config.model_settings import GivenSettings, from_request
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.metrics.instruments import Meter
from torchkeeper.models.builder import Builder, Sinks
from torchkeeper.models.registry import Models, Wish
from torchkeeper.models.version import ModelVersion
from torchkeeper.pool.launcher import Launch
from torchkeeper.pool.process import Owner
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Batch,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Stop,
    encode,
    encode_replies,
)
from torchkeeper.wire.messages import Input, Kind, Part, Reply, Together

_numbers = itertools.count(1)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time can be moved on."""

    ahead = 0.0

    def time(self) -> float:
        return time.monotonic() + self.ahead


class StandInProcess:
    """Does what a worker process does, on the event loop: loads, answers when told, stops, is killed."""

    def __init__(self, launcher: StandInLauncher, owner: Owner) -> None:
        self.pid = 0
        self.peak_rss, self.crash = 0, ""
        self.alive = True
        self.loaded = False
        self.spec: Any = None
        self.held: list[tuple[Batch, bytes]] = []
        self._launcher = launcher
        self._owner: Any = owner
        self._reader = FrameReader()
        self._leaving = False

    def send(self, *frame: bytes) -> None:
        for message, raw in self._reader.feed(b"".join(frame)):
            asyncio.get_running_loop().call_soon(self._take, message, raw)

    def _take(self, message: Message, raw: bytes) -> None:
        if isinstance(message, Load):
            self.spec = message.spec
            self.load()
        elif isinstance(message, Batch):
            self.held.append((message, raw))
        elif isinstance(message, Stop):
            self._leaving = True
            self._leave()

    def load(self) -> None:
        """Says what became of its model, if it has not yet and shall not be silent."""
        if self.loaded or self.spec is None or not self.alive:
            return
        if self._launcher.load_error is None:
            self.loaded = True
            told = self._launcher
            self._report(Loaded(self.pid, 0.0, None, told.torch, None, told.execution, told.together))
        elif self._launcher.load_error:
            self._report(LoadFailed(self._launcher.load_error))
            self.end(1)

    def answer(self) -> None:
        """Answers all that it holds."""
        for batch, _ in self.held:
            replies = [Reply(b"done") for _ in batch.requests]
            ((message, raw),) = FrameReader().feed(encode_replies(batch.batch_id, replies, (), 0.0))
            self._owner.on_frame(message, raw)
        self.held.clear()
        self._leave()

    def _leave(self) -> None:
        if self._leaving and not self.held:
            self.end(0)

    def _report(self, message: Message) -> None:
        ((message, raw),) = FrameReader().feed(encode(message))
        self._owner.on_frame(message, raw)

    def end(self, code: int) -> None:
        if self.alive:
            self.alive = False
            self._owner.on_exit(code, None)

    def kill_soon(self) -> None:
        self.kill()

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        asyncio.get_running_loop().call_soon(self.end, -9)

    def hold(self) -> None: ...

    def let_on(self) -> None: ...


class StandInLauncher:
    """Makes such workers; `load_error` is what they say when they load, "" for not a word."""

    def __init__(self) -> None:
        self.processes: list[StandInProcess] = []
        self.load_error: str | None = None
        #: The version of torch that they say they have.
        self.torch = ""
        #: What they say that they have applied.
        self.execution: dict[str, Any] = {}
        self.together: Together | None = None

    async def launch(self, owner: Owner, launch: Launch) -> Any:
        process = StandInProcess(self, owner)
        self.processes.append(process)
        return process

    def tell(self, found: object, name: str, known: object) -> None:
        assert found is None, "nobody is in a sandbox here"

    @property
    def living(self) -> list[StandInProcess]:
        return [process for process in self.processes if process.alive]


class CountedMeters:
    """Which versions are measured now, and how often one began to be."""

    def __init__(self) -> None:
        self.open: list[tuple[str, str]] = []
        self.made = 0

    def make(self, name: str, version: str, batch_size: int) -> Meter:
        self.made += 1
        self.open.append((name, version))
        return _Closing(lambda: self.open.remove((name, version)))


class _Closing(Meter):
    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget

    def close(self) -> None:
        self._forget()


def archive(
    store: Path, name: str, version: str = "1.0", config: str = "", handler: str | None = "h"
) -> Path:
    """An archive as torch-model-archiver makes it."""
    model = {"modelName": name, "modelVersion": version}
    if handler:
        model["handler"] = handler
    if config:
        model["configFile"] = "model-config.yaml"
    path = store / f"{name}-{version}.mar"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
        file.writestr("h.py", "def handle(data, context):\n    return data\n")
        if config:
            file.writestr("model-config.yaml", config)
    return path


class House:
    """A registry over a folder, with all that it needs."""

    def __init__(self, folder: Path, config: str = "", gpus: int = 0) -> None:
        self.store = folder / "model_store"
        self.store.mkdir()
        self.temp = folder / "temp"
        self.temp.mkdir()
        (folder / "config.properties").write_text(f"default_workers_per_model=1\n{config}")
        command_line = CommandLine(model_store=self.store)
        self.settings: Settings = load_settings(command_line, {"TEMP": str(self.temp)}, folder)[0]
        self.launcher = StandInLauncher()
        self.meters = CountedMeters()
        self.sinks = Sinks(lambda *_: None, lambda _: None, self.meters.make)
        launcher: Any = self.launcher
        self.builder = Builder(self.settings, {}, launcher, self.sinks, gpus)
        self.models = Models(self.settings, self.builder)

    def left(self) -> list[str]:
        """What lies in the store and in the folder of unpacked models."""
        unpacked = [path for folder in self.temp.iterdir() for path in folder.iterdir()]
        return sorted(path.name for path in (*self.store.iterdir(), *unpacked))


def request() -> Input:
    """A request like no other."""
    number = next(_numbers)
    return Input(str(number), Kind.PREDICT, (Part("body", b"%d" % number),), {})


async def turns(condition: Callable[[], bool]) -> None:
    """Lets the event loop go on until something has come true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def said(**parameters: object) -> GivenSettings:
    """What a registration with these parameters says of a model's settings."""
    return from_request(parameters)


async def registered(house: House, name: str = "m", version: str = "1.0", workers: int = 1) -> ModelVersion:
    """A version that serves with so many workers."""
    if not (house.store / f"{name}-{version}.mar").exists():
        archive(house.store, name, version)
    wish = Wish(f"{name}-{version}.mar", given=said(initial_workers=workers))
    found = await house.models.register(wish)
    await found.pool.settled()
    return found
