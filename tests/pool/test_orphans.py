"""Descendants of workers that are gone: none is left running in their group, and none as a zombie."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    FINE,
    Witness,
    become,
    child_in,
    launch_of,
    linux,
    loaded,
    no_reaper,
    spec_of,
    with_launcher,
)

from torchkeeper.pool import orphans
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.orphans import adopt_orphans, bury, reap_orphans

pytestmark = linux

#: Starts a process that is no longer of the worker's group.
DAEMON = """
import os, time

if os.fork() == 0:
    os.setsid()
    print("child", os.getpid(), flush=True)
    time.sleep(1000)
"""


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


def test_a_group_without_its_leader_is_ended_and_reaped() -> None:
    with no_reaper():
        adopt_orphans()
        script = "sleep 1000 & echo $!; sleep 1000 & echo $!"
        with subprocess.Popen(
            ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, text=True
        ) as leader:
            assert leader.stdout is not None
            members = [int(leader.stdout.readline()) for _ in range(2)]
        assert all(psutil.Process(pid).ppid() == os.getpid() for pid in members), "they became our children"
        asyncio.run(bury(leader.pid))
        assert not any(psutil.pid_exists(pid) for pid in members)


def test_a_zombie_that_is_another_ones_child_is_not_waited_for_longer_than_a_kill_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orphans, "KILLED", 0.01)
    source = (
        "import os, sys\nchild = os.fork()\nif child == 0:\n    os.setsid()\n    os._exit(0)\n"
        "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\nprint(child, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-ISc", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        zombie = int(parent.stdout.readline())
        asyncio.run(asyncio.wait_for(bury(zombie), 60))
        assert psutil.Process(zombie).status() == psutil.STATUS_ZOMBIE


def test_a_child_is_left_for_a_round_to_whoever_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_ROUND", 0)

    async def work() -> None:
        reaper = asyncio.get_running_loop().create_task(reap_orphans())
        child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for _ in range(2):  # it starts; it sees the zombie
            await asyncio.sleep(0)
        assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
        await become(lambda: not psutil.pid_exists(child.pid))
        child.wait()
        reaper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reaper

    asyncio.run(work())
