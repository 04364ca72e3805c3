"""Worker processes as the front sees them: how they begin, what they say, and above all how they end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
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

from torchkeeper.pool import launcher as launcher_module
from torchkeeper.pool import orphans, process, template_link
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.template_link import TemplateFailed
from torchkeeper.wire.frames import Loaded, LoadFailed, Stop, encode

pytestmark = linux

FINE = "def handle(data, context):\n    return data\n"
#: A child that has whatever the worker has, and says its own number.
FORKS = """
import os, signal, sys, time

child = os.fork()
if child == 0:
    time.sleep(1000)
print("child", child, flush=True)
"""
#: One that is no longer of the worker's group.
DAEMON = """
import os, time

if os.fork() == 0:
    os.setsid()
    print("child", os.getpid(), flush=True)
    time.sleep(1000)
"""
DIES = {
    "killed": (FORKS + "os.kill(os.getpid(), signal.SIGKILL)\n", -signal.SIGKILL),
    "leaves": (FORKS + "print('last words', end='', flush=True)\nos._exit(7)\n", 7),
    "does not load": (FORKS + "raise ValueError('no such weights')\n", 3),
}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return light_environ(tmp_path / "light")


def child_in(witness: Witness) -> int:
    return int(next(line for line in witness.lines if line.startswith("child")).split()[1])


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_a_worker_loads_and_leaves_when_told_to(
    environ: dict[str, str], tmp_path: Path, forked: bool
) -> None:
    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=forked))
        worker.send(loaded(spec_of(tmp_path / "m", FINE)))
        await witness.until(lambda: witness.frames)
        assert isinstance(witness.frames[0], Loaded)
        assert os.getsid(worker.pid) == worker.pid, "a Ctrl-C in the server's terminal does not reach it"
        worker.send(encode(Stop()))
        assert await witness.exit() == 0
        assert not worker.alive

    with_launcher(environ, work)


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
@pytest.mark.parametrize("how", DIES)
def test_a_death_is_told_at_once_whoever_holds_the_descriptors(
    environ: dict[str, str], tmp_path: Path, how: str, forked: bool
) -> None:
    source, code = DIES[how]

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=forked))
        worker.send(loaded(spec_of(tmp_path / "m", source)))
        assert await witness.exit() == code
        await become(lambda: not psutil.pid_exists(child_in(witness)))
        if how == "leaves":
            assert witness.lines[-1] == "last words", "what it had printed is read before its end is told"
        if how == "does not load":
            assert isinstance(witness.frames[0], LoadFailed), "and so is what it had sent"

    with_launcher(environ, work)


def test_workers_print_into_their_pipes_also_where_the_server_prints_into_a_file(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=True))
        worker.send(loaded(spec_of(tmp_path / "m", "print('half \\ud800')\n" + FINE)) + encode(Stop()))
        assert await witness.exit() == 0
        assert witness.lines == ["half \\ud800"]

    before = os.dup(1)
    with open(tmp_path / "server.log", "wb") as log:
        os.dup2(log.fileno(), 1)
    try:
        with_launcher(environ, work)
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_a_worker_that_closes_its_channel_is_killed(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "_DEAF", 0.01)

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=True))
        source = "import os, time\nos.closerange(3, 256)\ntime.sleep(1000)\n"
        worker.send(loaded(spec_of(tmp_path / "m", source)))
        assert await witness.exit() == -signal.SIGKILL

    with_launcher(environ, work)
    assert "has closed its channel and is killed" in caplog.text


def test_a_kill_whose_effect_nobody_tells_is_an_end_all_the_same(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "KILLED", 0.01)

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=True))
        template = template_of()
        template.suspend()
        worker.kill()
        assert await witness.exit() == -signal.SIGKILL
        template.resume()
        await become(lambda: not psutil.pid_exists(worker.pid))
        assert witness.exits == [-signal.SIGKILL], "and it is told once"

    with_launcher(environ, work)
    assert "is left to the kernel" in caplog.text


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


def test_a_cancelled_launch_leaves_nothing(environ: dict[str, str]) -> None:
    async def work(launcher: Launcher) -> None:
        template = template_of()
        before = state()
        for forked in (True, False):
            for turns in range(6):
                template.suspend()
                witness = Witness()
                task = asyncio.ensure_future(launcher.launch(witness, launch_of(environ, forked=forked)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                template.resume()
                await asyncio.wait({task})
                assert task.cancelled()
        await become(lambda: not template.children() and state() == before)
        assert witness.exits == [], "nobody asked for them any more"

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


def test_no_zombie_stays_of_a_process_that_outlived_its_worker(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_ROUND", 0.01)

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        worker = await launcher.launch(witness, launch_of(environ, forked=True))
        worker.send(loaded(spec_of(tmp_path / "m", DAEMON + FINE)))
        await witness.until(lambda: witness.lines)
        worker.kill()
        assert await witness.exit() == -signal.SIGKILL
        stays = psutil.Process(child_in(witness))
        assert stays.status() != psutil.STATUS_ZOMBIE
        await become(lambda: stays.ppid() == os.getpid())
        stays.kill()
        await become(lambda: not psutil.pid_exists(stays.pid))

    with_launcher(environ, work)


def test_after_its_end_a_launcher_launches_nothing(environ: dict[str, str]) -> None:
    async def work() -> None:
        launcher = launcher_module.Launcher(environ)
        await launcher.start()
        await launcher.stop()
        with pytest.raises(OSError, match="the server stops"):
            await launcher.launch(Witness(), launch_of(environ, forked=True))

    run(work())
