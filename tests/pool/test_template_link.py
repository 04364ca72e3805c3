"""The template as the front sees it: what it is asked for, what it tells, and how both end in time."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    FINE,
    Witness,
    become,
    launch_of,
    light_environ,
    linux,
    loaded,
    run,
    spec_of,
    state,
    template_of,
    with_launcher,
)

from torchkeeper.pool import template_link
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.orphans import adopt_orphans
from torchkeeper.pool.process import WorkerProcess, make_ends
from torchkeeper.pool.template_link import TemplateFailed, TemplateLink
from torchkeeper.wire.frames import Stop, encode

pytestmark = linux


def test_a_fork_that_is_not_answered_costs_the_template_and_the_next_one_serves(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(launcher: Launcher) -> None:
        before = state()[0]
        template = template_of()
        template.suspend()
        with monkeypatch.context() as short:
            short.setattr(template_link, "FORK", 0.01)
            with pytest.raises(TemplateFailed, match="did not fork a worker within"):
                await launcher.launch(Witness(), launch_of(environ, forked=True))
        await become(lambda: not psutil.pid_exists(template.pid))
        await become(lambda: len(state()[0]) < len(before))
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=True))
        worker.send(loaded(spec_of(tmp_path / "m", FINE)) + encode(Stop()))
        assert await witness.exit() == 0

    with_launcher(environ, work)


@pytest.mark.parametrize("end", ["timeout", "cancelled", "stopped"])
def test_a_template_that_never_gets_ready_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    environ = light_environ(tmp_path / "light", numpy="import time\ntime.sleep(1000)\n")
    monkeypatch.setattr(template_link, "TEMPLATE_START", 0.1 if end == "timeout" else 60.0)

    async def work() -> None:
        launcher = Launcher(environ)
        first = asyncio.ensure_future(launcher.start())
        await become(lambda: bool(state()[1]))
        second = asyncio.ensure_future(launcher.launch(Witness(), launch_of(environ, forked=True)))
        if end == "timeout":
            await first
            with pytest.raises(TemplateFailed, match="was not ready within"):
                await second
        elif end == "cancelled":
            first.cancel()
            second.cancel()
        await launcher.stop()
        await asyncio.wait({first, second})

    run(work())
    if end == "timeout":
        assert "workers cannot be forked yet: the template process was not ready" in caplog.text


def test_a_template_that_cannot_start_says_how_it_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = light_environ(tmp_path / "light", numpy="import os\nos._exit(9)\n")
    with_launcher(environ, lambda launcher: asyncio.sleep(0))
    assert "workers cannot be forked yet: the template process died (exit code 9)" in caplog.text


def test_a_template_that_does_not_leave_is_killed(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_link, "TEMPLATE_STOP", 0.01)

    async def work(launcher: Launcher) -> int:
        template = template_of()
        template.suspend()
        return template.pid

    assert not psutil.pid_exists(with_launcher(environ, work))


class Linked:
    """A template that is ready, and the ends that it tells of."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.ends: list[tuple[WorkerProcess, int | None]] = []
        self.link = TemplateLink(environ, lambda worker, pid, code, peak: self.ends.append((worker, code)))

    async def fork(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(number, Witness())
        ours, theirs = make_ends()
        try:
            await self.link.fork(worker, "title", theirs)
        except TemplateFailed:
            ours.close()
            raise
        finally:
            theirs.close()
        await worker.adopt(ours)
        return worker


def linked(environ: dict[str, str], work: Callable[[Linked], Awaitable[None]]) -> None:
    """Runs work with a template of its own; nothing may be left."""

    async def whole() -> None:
        adopt_orphans()
        scene = Linked(environ)
        await scene.link.start()
        try:
            await work(scene)
        finally:
            await scene.link.stop()
        assert not scene.link.alive

    run(whole())


def test_each_end_is_told_of_its_own_worker(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work(scene: Linked) -> None:
        first, second = await asyncio.gather(scene.fork(1), scene.fork(2))
        assert first.pid != second.pid
        second.kill()
        await become(lambda: len(scene.ends) == 1)
        first.kill()
        await become(lambda: len(scene.ends) == 2)
        assert scene.ends == [(second, -signal.SIGKILL), (first, -signal.SIGKILL)]
        for worker, code in scene.ends:
            worker.ended(code)

    linked(environ, work)
    assert "workers start without torch: left out" in caplog.text


def test_workers_outlive_their_template_and_their_end_is_still_told(environ: dict[str, str]) -> None:
    async def work(scene: Linked) -> None:
        worker = await scene.fork(1)
        template_of().kill()
        await become(lambda: not scene.link.alive)
        with pytest.raises(TemplateFailed, match=r"the template process died \(killed by signal 9\)"):
            await scene.fork(2)
        assert worker.pid is not None
        await become(lambda: psutil.Process(worker.pid).ppid() == os.getpid())
        os.kill(worker.pid, signal.SIGKILL)
        await become(lambda: bool(scene.ends))
        assert scene.ends == [(worker, -signal.SIGKILL)]
        worker.ended(-signal.SIGKILL)

    linked(environ, work)


def test_a_worker_outlives_its_template_also_where_no_descriptor_is_left(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    none_left = [OSError(errno.EMFILE, "Too many open files")] * 4
    real = os.pidfd_open

    def pidfd_open(pid: int) -> int:
        if none_left:
            raise none_left.pop()
        return real(pid)

    async def work(launcher: Launcher) -> None:
        witnesses = [Witness(), Witness()]
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        workers = [await launcher.launch(witness, launch_of(environ, forked=True)) for witness in witnesses]
        template_of().kill()
        await become(lambda: not none_left)
        for worker, witness in zip(workers, witnesses, strict=True):
            worker.kill()
            assert await witness.exit() == -signal.SIGKILL

    with_launcher(environ, work)


def test_a_worker_that_nobody_wants_any_more_is_killed_once_it_is_there(environ: dict[str, str]) -> None:
    async def work(scene: Linked) -> None:
        template = template_of()
        template.suspend()
        worker = WorkerProcess(1, Witness())
        ours, theirs = make_ends()
        asking = asyncio.ensure_future(scene.link.fork(worker, "title", theirs))
        await asyncio.sleep(0)
        worker.discard()
        template.resume()
        await asking
        await become(lambda: bool(scene.ends))
        assert scene.ends == [(worker, -signal.SIGKILL)]
        worker.ended(-signal.SIGKILL)
        for ends in (ours, theirs):
            ends.close()

    linked(environ, work)
