"""The two ways to a worker's process, and what stands behind them when one fails or is not wanted."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    FINE,
    Witness,
    become,
    launch_of,
    linux,
    loaded,
    run,
    spec_of,
    state,
    template_of,
    with_launcher,
)

from torchkeeper.pool.launcher import Launcher
from torchkeeper.wire.frames import Loaded, Stop, encode
from torchkeeper.wire.messages import Confinement, Sandbox

pytestmark = linux


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_a_worker_loads_and_leaves_when_told_to(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked: bool
) -> None:
    (tmp_path / "dataclasses.py").write_text("raise ImportError('of the folder that it is started in')\n")
    monkeypatch.chdir(tmp_path)

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


@pytest.mark.parametrize("turns", range(6))
def test_a_launch_survives_the_death_of_its_template(
    environ: dict[str, str], tmp_path: Path, turns: int
) -> None:
    async def work(launcher: Launcher) -> None:
        template = template_of()
        template.suspend()
        witness = Witness()
        launching = asyncio.ensure_future(launcher.launch(witness, launch_of(environ, forked=True)))
        for _ in range(turns):
            await asyncio.sleep(0)
        template.kill()
        worker = await launching
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


def test_after_its_end_a_launcher_launches_nothing(environ: dict[str, str]) -> None:
    async def work() -> None:
        launcher = Launcher(environ)
        await launcher.start()
        await launcher.stop()
        with pytest.raises(OSError, match="the server stops"):
            await launcher.launch(Witness(), launch_of(environ, forked=True))

    run(work())


def test_only_this_servers_own_interpreter_is_forked(environ: dict[str, str], tmp_path: Path) -> None:
    async def work(launcher: Launcher) -> None:
        witnesses = [Witness(), Witness()]
        plain = launch_of(environ, forked=True)
        workers = [
            await launcher.launch(witness, launch)
            for witness, launch in zip(witnesses, (plain, replace(plain, python=sys.executable)), strict=True)
        ]
        parents = [psutil.Process(worker.pid).ppid() for worker in workers]
        assert parents == [template_of().pid, os.getpid()]
        for worker, witness in zip(workers, witnesses, strict=True):
            worker.send(loaded(spec_of(tmp_path / "m", FINE)) + encode(Stop()))
            assert await witness.exit() == 0

    with_launcher(environ, work)


@pytest.mark.parametrize(("given", "threads", "seen"), [({}, 3, "3"), ({"OMP_NUM_THREADS": "2"}, 3, "2")])
def test_a_spawned_worker_has_its_environment_and_its_threads(
    environ: dict[str, str], tmp_path: Path, given: dict[str, str], threads: int, seen: str
) -> None:
    environ.pop("OMP_NUM_THREADS", None)
    source = "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['OWN'])\n" + FINE

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        launch = launch_of({**environ, **given, "OWN": "value"}, forked=False)
        worker = await launcher.launch(witness, replace(launch, threads=threads))
        worker.send(loaded(spec_of(tmp_path / "m", source)) + encode(Stop()))
        assert await witness.exit() == 0
        assert witness.lines == [f"{seen} value"]

    with_launcher(environ, work)


def test_a_template_that_died_is_started_once_for_all_who_want_workers(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work(launcher: Launcher) -> None:
        first = template_of()
        first.kill()
        await become(lambda: "the template process died (killed by signal 9)" in caplog.text)
        witnesses = [Witness() for _ in range(3)]
        launch = launch_of(environ, forked=True)
        workers = await asyncio.gather(*(launcher.launch(witness, launch) for witness in witnesses))
        assert {psutil.Process(worker.pid).ppid() for worker in workers} == {template_of().pid}
        assert len({worker.worker_id for worker in workers}) == 3
        for worker, witness in zip(workers, witnesses, strict=True):
            worker.kill()
            assert await witness.exit() == -9

    with_launcher(environ, work)


def test_an_interpreter_that_is_not_there_leaves_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    async def work(launcher: Launcher) -> None:
        before = state()
        launch = replace(launch_of(environ, forked=False), python=str(tmp_path / "none"))
        with pytest.raises(FileNotFoundError):
            await launcher.launch(Witness(), launch)
        assert state() == before

    with_launcher(environ, work)


def test_what_a_sandbox_lacks_is_told_once_and_what_is_in_force_of_each(
    caplog: pytest.LogCaptureFixture, environ: dict[str, str]
) -> None:
    launcher = Launcher(environ)
    caplog.set_level("INFO")
    for name in ("W-1", "W-2"):
        launcher.tell(Confinement("strict", {"landlock": 3}, ("signals are not limited",)), name, {})
    launcher.tell(None, "W-3", {})
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("INFO", "W-1: sandbox strict: landlock 3"),
        ("WARNING", "sandbox strict: signals are not limited"),
        ("INFO", "W-2: sandbox strict: landlock 3"),
    ]


@linux
@pytest.mark.parametrize("python", [None, "/no/such/python"])
def test_a_strict_workers_folder_is_there_as_long_as_the_worker(
    environ: dict[str, str], tmp_path: Path, python: str | None
) -> None:
    (temp := tmp_path / "temp").mkdir()
    sandbox = Sandbox("strict", model_dir=str(tmp_path / "m"), temp_dir=str(temp))
    source = f"import tempfile\nprint(tempfile.gettempdir())\n{FINE}"

    async def work(launcher: Launcher) -> None:
        witness = Witness()
        launch = replace(launch_of(environ, forked=False), python=python, sandbox=sandbox)
        if python is not None:
            with pytest.raises(FileNotFoundError):
                await launcher.launch(witness, launch)
        else:
            worker = await launcher.launch(witness, launch)
            worker.send(loaded(spec_of(tmp_path / "m", source)))
            await witness.until(lambda: witness.lines)
            assert witness.lines[0] in map(str, temp.iterdir())
            worker.send(encode(Stop()))
            await witness.exit()
        await become(lambda: not list(temp.iterdir()))

    with_launcher(environ, work)
