"""Real worker processes without a server: a launcher in an event loop of the test's own, tiny handlers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import uvloop

from torchkeeper.pool.launcher import Launch, Launcher
from torchkeeper.wire.frames import Load, Message, encode
from torchkeeper.wire.messages import ModelSpec
from workers import light_environ as light_environ

T = TypeVar("T")
#: Seconds for what must come; only a failing test waits for so long.
LONG = 60.0
_PR_SET_CHILD_SUBREAPER = 36
#: The least that a handler can be.
FINE = "def handle(data, context):\n    return data\n"


def spec_of(folder: Path, source: str) -> ModelSpec:
    """A model that is nothing but a handler."""
    folder.mkdir(exist_ok=True)
    (folder / "handler.py").write_text(source)
    return ModelSpec("m", "1.0", str(folder), {}, "handler.py", None, None, 1, None)


class Witness:
    """Remembers what a worker says, and waits for it."""

    def __init__(self) -> None:
        self.frames: list[Message] = []
        self.lines: list[str] = []
        self.exits: list[int | None] = []
        self.faults: list[str | None] = []
        self._changed = asyncio.Event()

    def on_frame(self, message: Message, raw: bytes) -> None:
        self.frames.append(message)
        self._changed.set()

    def on_exit(self, returncode: int | None, fault: str | None) -> None:
        self.exits.append(returncode)
        self.faults.append(fault)
        self._changed.set()

    def on_line(self, stream: str, line: str) -> None:
        self.lines.append(line)
        self._changed.set()

    async def until(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(LONG):
            while not what():
                await self._changed.wait()
                self._changed.clear()

    async def exit(self) -> int | None:
        await self.until(lambda: self.exits)
        return self.exits[0]


def child_in(witness: Witness) -> int:
    """The process of which a handler has said that it is its child."""
    return int(next(line for line in witness.lines if line.startswith("child")).split()[1])


async def become(what: Callable[[], bool]) -> None:
    """Waits for something that nobody tells."""
    async with asyncio.timeout(LONG):
        while not what():
            await asyncio.sleep(0.005)


def loaded(spec: ModelSpec, *, shares_weights: bool = False) -> bytes:
    return encode(Load(spec, 1 << 20, shares_weights))


def launch_of(environ: dict[str, str], *, forked: bool) -> Launch:
    return Launch("m", None, environ, from_template=forked)


def state() -> tuple[set[str], set[int]]:
    """The sockets and pipes of this process, and its children."""
    held = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            held.add(os.readlink(f"/proc/self/fd/{fd}"))
    ours = {what for what in held if what.startswith(("socket:", "pipe:"))}
    return ours, {child.pid for child in psutil.Process().children()}


def template_of() -> psutil.Process:
    """The template process of the launcher that runs."""
    executed = [child for child in psutil.Process().children() if child.name().startswith("python")]
    (found,) = (child for child in executed if "torchkeeper.worker.template" in child.cmdline())
    return found


@contextlib.contextmanager
def no_reaper() -> Iterator[None]:
    """This process adopts no orphans after the block."""
    try:
        yield
    finally:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)


def with_launcher(environ: dict[str, str], work: Callable[[Launcher], Awaitable[T]]) -> T:
    """Runs work with a started launcher, and stops it; nothing may be left."""

    async def whole() -> T:
        launcher = Launcher(environ)
        await launcher.start()
        try:
            return await work(launcher)
        finally:
            await launcher.stop()

    return run(whole())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs work in a loop of its own; no descriptor and no child of this process may be left."""
    before = state()[1]
    with no_reaper(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(work)
    assert state()[1] <= before, "processes are left"
    return result


linux = pytest.mark.skipif(sys.platform != "linux", reason="forked workers")
