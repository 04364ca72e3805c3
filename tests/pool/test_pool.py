"""The pool with real processes and no server: how workers come, are replaced, and are sent away in time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec
import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    become,
    launch_of,
    light_environ,
    linux,
    spec_of,
    template_of,
    with_launcher,
)

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.pool import pool as pool_module
from torchkeeper.pool import process, template_link
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.life import State
from torchkeeper.pool.plan import Plan
from torchkeeper.pool.pool import Pool
from torchkeeper.pool.worker import NOBODY, Loss, Refusal, Worker
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Loaded,
    Message,
    Replies,
    WireError,
    encode_batch,
    encode_replies,
)
from torchkeeper.wire.messages import Input, Kind, ModelSpec, Part, Reply

pytestmark = linux

FINE = """
import os, time

def handle(data, context):
    if data and bytes(data[0]["body"]) == b"sleep":
        time.sleep(1000)
    return data and [str(os.getpid())] * len(data)
"""
#: Nothing but SIGKILL ends it.
STUBBORN = """
import atexit, signal, time

signal.signal(signal.SIGTERM, lambda *_: None)
atexit.register(time.sleep, 1000)
"""
LOADS = STUBBORN + "print('loads', flush=True)\nwhile True:\n    time.sleep(1000)\n"


class Requests:
    """In the dispatcher's place: hands single requests to workers and remembers what it is told."""

    def __init__(self) -> None:
        self.ready: list[Worker] = []
        self.lost: list[Loss] = []
        self.answered = 0
        self.told: list[str] = []
        self.nobody: Refusal | None = NOBODY

    def hand(self, worker: Worker, body: bytes) -> None:
        worker.took()
        request = Input("r", Kind.PREDICT, (Part("body", body),), {})
        worker.send(encode_batch(1, [request]))

    def on_ready(self, worker: Worker) -> None:
        self.ready.append(worker)

    def on_message(self, worker: Worker, message: Message, raw: bytes) -> None:
        if isinstance(message, Replies):
            self.answered += 1
            worker.freed()

    def on_leaving(self, worker: Worker) -> None:
        self.told.append("leaving")

    def on_lost(self, worker: Worker, loss: Loss) -> None:
        self.lost.append(loss)

    def on_availability(self, nobody: Refusal | None) -> None:
        self.nobody = nobody


class Scene:
    """A pool, who uses it, what its workers print, and the models that they can have."""

    def __init__(
        self, folder: Path, launcher: Launcher, environ: dict[str, str], *, share_imports: bool
    ) -> None:
        self.requests = Requests()
        self.lines: list[str] = []
        settings = ModelSettings(startup_timeout=60.0, share_imports=share_imports)
        plan = Plan("m_1.0", settings, 1 << 20, launch_of(environ, forked=True))
        ports = itertools.count(9000)
        self.pool = Pool(plan, launcher, self.requests, self._print, lambda: next(ports))
        self._folder = folder

    def _print(self, name: str, stream: str, line: str) -> None:
        self.lines.append(line)

    def spec(self, source: str) -> ModelSpec:
        return spec_of(self._folder / "m", source)

    async def loaded(self, source: str = FINE) -> Worker:
        self.pool.scale([self.spec(source)])
        assert await self.pool.settled() is None
        return self.pool.workers[0]


class Play(Protocol):
    """Plays a scene."""

    def __call__(self, act: Callable[[Scene], Awaitable[None]], *, share_imports: bool = True) -> None: ...


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Plays a scene to its end, after which no process may be left."""

    def whole(act: Callable[[Scene], Awaitable[None]], *, share_imports: bool = True) -> None:
        environ = light_environ(tmp_path / "light")

        async def work(launcher: Launcher) -> None:
            scene = Scene(tmp_path, launcher, environ, share_imports=share_imports)
            try:
                await act(scene)
            finally:
                await scene.pool.stop(0.0)

        with_launcher(environ, work)

    return whole


def pid_of(worker: Worker) -> int:
    assert worker.process is not None
    assert worker.process.pid is not None
    return worker.process.pid


def test_workers_that_hold_nothing_leave_at_once(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        pid = pid_of(worker)
        assert await scene.pool.stop(60.0)
        assert not psutil.pid_exists(pid)
        assert worker.life.state is State.STOPPED
        assert [loss.killed for loss in scene.requests.lost] == [False]

    play(act)


def test_a_worker_that_is_killed_is_replaced_and_its_loss_told_once(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded("import subprocess\nsubprocess.Popen(['sleep', '1000'])\n" + FINE)
        pid = pid_of(worker)
        worker.answered, worker.uncompiled = 7, 5  # as the dispatcher has counted
        scene.requests.hand(worker, b"sleep")
        psutil.Process(pid).kill()
        await become(lambda: len(scene.requests.ready) == 2)
        assert pid_of(worker) != pid
        assert (worker.answered, worker.uncompiled) == (0, 0), "what the dead one did is none of its doing"
        assert [(loss.killed, loss.timed_out) for loss in scene.requests.lost] == [(True, False)]
        assert "SIGKILL" in scene.requests.lost[0].cause

    play(act)


def test_a_worker_whose_end_is_about_to_be_told_is_heard_and_gets_nothing_more(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        scene.requests.hand(worker, b"")
        assert worker.process is not None
        worker.process.alive = False  # as when its last words are read
        ((message, raw),) = FrameReader().feed(encode_replies(1, [Reply(b"last words")], (), 0.0))
        scene.pool.on_frame(worker, message, raw)
        assert (scene.requests.told, scene.requests.answered) == (["leaving"], 1)
        worker.process.alive = True

    play(act)


def test_a_worker_loads_a_model_once(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        with pytest.raises(WireError):
            scene.pool.on_frame(worker, Loaded(1, 0.0), b"")
        assert worker.life.state is State.READY
        assert len(scene.requests.ready) == 1

    play(act)


def test_what_a_worker_holds_is_answered_before_its_grace_begins(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        scene.requests.hand(worker, b"x")
        scene.pool.scale([])
        assert worker.life.state is State.DRAINING
        assert worker.grace is None
        assert await scene.pool.settled() is None
        assert scene.requests.answered == 1
        assert worker.life.state is State.STOPPED

    play(act)


@pytest.mark.parametrize("source", [STUBBORN + FINE, LOADS], ids=["has loaded", "loads"])
def test_a_worker_that_does_not_leave_is_killed_after_its_grace(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, source: str
) -> None:
    monkeypatch.setattr(pool_module, "WORKER_STOP", 0.01)

    async def act(scene: Scene) -> None:
        scene.pool.scale([scene.spec(source)])
        await become(lambda: bool(scene.requests.ready or scene.lines))
        pid = pid_of(scene.pool.workers[0])
        scene.pool.scale([])
        assert await scene.pool.settled() is None
        assert not psutil.pid_exists(pid)

    play(act)
    assert "did not end within 0.01 s of being told to; it is killed" in caplog.text


def test_a_stop_kills_what_is_not_gone_by_its_deadline(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        pid = pid_of(worker)
        scene.requests.hand(worker, b"sleep")
        assert not await scene.pool.stop(0.0)
        assert not psutil.pid_exists(pid)

    play(act)


def test_a_stop_returns_although_nobody_tells_of_the_end(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "KILLED", 0.01)

    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        scene.requests.hand(worker, b"sleep")
        template = template_of()
        template.suspend()
        assert not await scene.pool.stop(0.0)
        assert len(scene.requests.lost) == 1, "what it held can be answered"
        template.resume()

    play(act, share_imports=False)  # the template tells of the ends of its own children
    assert "is left to the kernel" in caplog.text


def test_a_stop_does_not_wait_for_a_process_that_is_only_being_made(play: Play) -> None:
    async def act(scene: Scene) -> None:
        template = template_of()
        template.suspend()
        scene.pool.scale([scene.spec(FINE)])
        await asyncio.sleep(0)
        assert await scene.pool.stop(60.0), "nothing had to be killed"
        assert scene.requests.lost == []
        template.resume()

    play(act)


def test_a_process_that_ends_as_its_worker_is_sent_away_is_nobodys_loss(play: Play) -> None:
    """Its end may be told before the launch hears that it is not wanted any more."""

    async def act(scene: Scene) -> None:
        scene.pool.scale([scene.spec(FINE)])
        (worker,) = scene.pool.workers
        scene.pool.scale([])
        scene.pool.on_exit(worker, -9, None)
        assert worker.life.state is State.STOPPED
        assert scene.requests.lost == []

    play(act)


@pytest.mark.slow
def test_a_launch_that_takes_too_long_backs_off_and_says_why(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_link, "FORK", 0.01)

    async def act(scene: Scene) -> None:
        template_of().suspend()
        scene.pool.scale([scene.spec(FINE)])
        cause = await scene.pool.settled()
        assert cause is not None
        assert cause.startswith("no process could be started: the template process did not fork a worker")
        (worker,) = scene.pool.workers
        assert worker.life.state is State.BACKING_OFF
        monkeypatch.undo()
        await become(lambda: len(scene.requests.ready) == 1)  # the next try has a new template

    play(act)


def test_a_model_that_cannot_be_told_of_backs_off_and_says_why(play: Play) -> None:
    async def act(scene: Scene) -> None:
        endless: dict[str, object] = {}
        endless["itself"] = endless
        spec = msgspec.structs.replace(scene.spec(FINE), model_config=endless)
        scene.pool.scale([spec])
        cause = await scene.pool.settled()
        assert cause is not None
        assert cause.startswith("no process could be started: RecursionError")
        (worker,) = scene.pool.workers
        assert worker.life.state is State.BACKING_OFF

    play(act)


def test_a_killed_worker_with_no_answer_in_time_is_said_to_have_timed_out(play: Play) -> None:
    async def act(scene: Scene) -> None:
        worker = await scene.loaded()
        scene.requests.hand(worker, b"sleep")
        worker.kill("no answer within 1 s (response timeout)")
        await become(lambda: len(scene.requests.ready) == 2)
        (loss,) = scene.requests.lost
        assert (loss.cause.partition(" (handler.py, line ")[0], loss.killed, loss.timed_out) == (
            "no answer within 1 s (response timeout)",
            False,
            True,
        )

    play(act)


def test_who_uses_the_pool_is_told_whether_anybody_may_serve(play: Play) -> None:
    async def act(scene: Scene) -> None:
        scene.pool.scale([scene.spec("raise ValueError('no model')\n")])
        assert scene.requests.nobody is None, "the first one may still come up"
        await become(lambda: scene.requests.nobody is not None)
        refusal = scene.requests.nobody
        assert refusal is not None
        assert "ValueError: no model" in refusal.cause
        assert refusal.retry_after(time.monotonic()) >= 1
        scene.pool.scale([])
        assert scene.requests.nobody is NOBODY

    play(act)
