"""Workers whose handler is imported once, as real processes: what is shared, what not, and who dies when."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from launching import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    FINE,
    LONG,
    Witness,
    become,
    child_in,
    launch_of,
    linux,
    loaded,
    spec_of,
    state,
    template_of,
    with_launcher,
)

from torchkeeper.pool import model_link
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.process import WorkerProcess
from torchkeeper.pool.sharing import Sharing
from torchkeeper.wire.frames import Forked, Loaded, LoadFailed, Stop, encode

pytestmark = linux

#: A handler whose import says where it happens.
SAYS = "import os\nprint('imported by', os.getpid(), flush=True)\n" + FINE


class Version:
    """A version's workers, and what each says."""

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        environ: dict[str, str],
        source: str,
        *,
        forked: bool = True,
        weights: bool = False,
    ) -> None:
        self.sharing = Sharing("m_1.0", why_no_weights="" if weights else None)
        self.spec = spec_of(folder / "m", source)
        self._launcher = launcher
        self._launch = replace(launch_of(environ, forked=forked), sharing=self.sharing)
        self.workers: list[tuple[WorkerProcess, Any]] = []

    async def begin(self) -> tuple[WorkerProcess, Any]:
        """A worker that has been told what to load."""
        witness = Witness()
        worker = await self._launcher.launch(witness, self._launch)
        worker.send(loaded(self.spec, shares_weights=self.sharing.with_weights))
        self.workers.append((worker, witness))
        return worker, witness

    async def load(self) -> tuple[WorkerProcess, Any]:
        """A worker that has loaded."""
        worker, witness = await self.begin()
        await witness.until(lambda: witness.frames)
        assert isinstance(witness.frames[0], Loaded), witness.frames
        assert witness.frames[0].pid == worker.pid
        return worker, witness

    async def end(self) -> None:
        """All of them end in peace."""
        for worker, witness in self.workers:
            if worker.alive:
                worker.send(encode(Stop()))
                assert await witness.exit() == 0
        self.sharing.rest()


Play = Callable[..., None]


@pytest.fixture
def play(environ: dict[str, str], tmp_path: Path) -> Play:
    """Plays with a version whose handler has some source; no process and no descriptor may be left."""

    def whole(source: str, act: Callable[[Version], Awaitable[None]], **how: bool) -> None:
        async def work(launcher: Launcher) -> None:
            before = [len(kind) for kind in state()]

            def nothing_is_left() -> bool:
                return all(len(kind) <= were for kind, were in zip(state(), before, strict=True))

            version = Version(tmp_path, launcher, environ, source, **how)
            try:
                await act(version)
                await version.end()
                await become(nothing_is_left)
            finally:
                for worker, _ in version.workers:
                    worker.kill()

        with_launcher(environ, work)

    return whole


def imported_by(version: Version) -> list[int]:
    """The processes in which the handler was imported."""
    lines = [line for _, witness in version.workers for line in witness.lines]
    return [int(line.split()[-1]) for line in lines if line.startswith("imported by")]


def name_of(pid: int) -> str:
    """A process's name; empty once it is gone."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_one_process_imports_and_the_workers_are_its_forks(play: Play, forked: bool) -> None:
    async def act(version: Version) -> None:
        loads = await asyncio.gather(*(version.load() for _ in range(3)))
        (importer,) = imported_by(version)
        pids = {worker.pid for worker, _ in loads}
        assert len(pids | {importer}) == 4
        assert version.sharing.imports == {"shared": True, "pid": importer}
        assert name_of(importer) == "imports:m"
        for pid in pids:
            assert pid is not None
            assert psutil.Process(pid).ppid() == importer
            assert (os.getsid(pid), name_of(pid)) == (pid, "m")

    play(SAYS, act, forked=forked)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n",
            "it started 1 thread",
        ),
        ("import subprocess\nchild = subprocess.Popen(['sleep', '99'])\n", "it started a process"),
        ("import socket\nkept = socket.socket()\n", "it opened socket:"),
    ],
)
def test_an_import_that_cannot_be_shared_is_made_by_each_and_said_to_be(
    play: Play, source: str, why: str
) -> None:
    async def act(version: Version) -> None:
        loads = await asyncio.gather(*(version.load() for _ in range(2)))
        loads.append(await version.load())
        assert version.sharing.imports["shared"] is False
        assert version.sharing.imports["why"].startswith(why)
        assert sorted(imported_by(version)) == sorted(worker.pid for worker, _ in loads), "none does it twice"

    play(source + SAYS, act)


def test_an_import_that_fails_is_told_as_ever(play: Play, environ: dict[str, str], tmp_path: Path) -> None:
    source = "import nothing_of_that_name\n"
    told: list[object] = []

    async def act(version: Version) -> None:
        for sharing in (version.sharing, None):
            witness = Witness()
            launch = replace(launch_of(environ, forked=True), sharing=sharing)
            worker = await version._launcher.launch(witness, launch)
            worker.send(loaded(version.spec))
            assert await witness.exit() == 3
            (failed,) = witness.frames
            assert isinstance(failed, LoadFailed)
            told.append((failed.cause, failed.place, failed.do))
        assert version.sharing.imports == {}

    play(source, act)
    assert told[0] == told[1]
    assert "nothing_of_that_name" in str(told[0])


def test_those_who_wait_for_one_that_is_killed_wait_for_the_next_of_them(play: Play, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"

    async def act(version: Version) -> None:
        first, _ = await version.begin()
        waiting = [asyncio.ensure_future(version.load()) for _ in range(4)]
        await asyncio.sleep(0)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        assert await version.workers[0][1].exit() == -signal.SIGKILL
        go.touch()
        await asyncio.gather(*waiting)
        await version.load()
        assert len(imported_by(version)) == 1
        assert version.sharing.imports["shared"] is True

    play(waits + SAYS, act)


def test_workers_outlive_the_process_that_imported_and_the_next_one_is_a_new_one(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(version: Version) -> None:
        await version.load()
        await version.load()
        (importer,) = imported_by(version)
        os.kill(importer, signal.SIGKILL)
        await become(lambda: version.sharing.imports == {})
        assert all(worker.alive for worker, _ in version.workers)
        await version.load()
        assert len(imported_by(version)) == 2
        for worker, witness in version.workers:
            worker.kill()
            assert await witness.exit() == -signal.SIGKILL

    play(SAYS, act)
    assert "from which workers were forked, died; they go on" in caplog.text


def test_the_end_of_a_forked_worker_is_told_with_its_signal_and_the_next_one_imports_nothing(
    play: Play,
) -> None:
    async def act(version: Version) -> None:
        first, witness = await version.load()
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSEGV)
        assert await witness.exit() == -signal.SIGSEGV
        assert first.peak_rss > 1_000_000
        assert "Current thread" in first.crash
        await version.load()
        assert len(imported_by(version)) == 1

    play(SAYS, act)


def test_both_templates_may_die(play: Play) -> None:
    async def act(version: Version) -> None:
        await version.load()
        (importer,) = imported_by(version)
        template_of().kill()
        await become(lambda: psutil.Process(importer).ppid() == os.getpid())
        await version.load()
        assert len(imported_by(version)) == 1
        os.kill(importer, signal.SIGKILL)
        await become(lambda: version.sharing.imports == {})
        await version.load()
        assert len(imported_by(version)) == 2

    play(SAYS, act)


def test_an_order_that_was_not_read_when_the_process_that_imported_died_goes_to_the_next_one(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(version: Version) -> None:
        await version.load()
        (importer,) = imported_by(version)
        os.kill(importer, signal.SIGSTOP)
        asked = asyncio.ensure_future(version.load())
        for _ in range(20):
            await asyncio.sleep(0)
        os.kill(importer, signal.SIGKILL)
        await asked
        assert len(imported_by(version)) == 2
        assert version.sharing.imports["shared"] is True

    play(SAYS, act)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_launch_waits_no_longer_where_another_process_says_that_it_is_the_worker(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_link, "FORK", 100 * LONG)
    late = tmp_path / "late"
    says = (
        "from torchkeeper.wire.frames import Forked, encode\n"
        "lies = []\n"
        "def lie():\n"
        f"    if lies or not os.path.exists({str(late)!r}):\n        return\n"
        "    lies.append(os.pipe())\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        if os.fork() == 0:\n"
        f"            while os.getppid() != {os.getpid()}:\n                pass\n"
        "            link().send(encode(Forked(2, 1)))\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    os.close(lies[0][1])\n"
        "    os.read(lies[0][0], 1)  # it has said it\n"
        "os.register_at_fork(before=lie)\n"
    )

    async def act(version: Version) -> None:
        await version.load()
        late.touch()
        async with asyncio.timeout(LONG):
            await version.load()
        assert version.sharing.imports["shared"] is False

    play(LINK + says + SAYS, act)


LINK = """
import os, socket

def link():
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if found.type == socket.SOCK_SEQPACKET:
            return found

"""


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (encode(Forked(0, 1)), "said what it cannot say"),
        (b"nonsense", "broke its socket's format"),
        (encode(Stop()), "said what it cannot say"),
    ],
    ids=["itself", "nonsense", "another word"],
)
def test_a_handler_that_speaks_on_that_socket_is_killed(
    play: Play, caplog: pytest.LogCaptureFixture, frame: bytes, said: str
) -> None:
    async def act(version: Version) -> None:
        _, witness = await version.begin()
        assert await witness.exit() == -signal.SIGKILL
        assert version.sharing.imports["why"].startswith(f"the process that has imported it {said}")

    play(f"{LINK}link().send({frame!r})\n{FINE}", act)
    assert f"the process that has imported a handler {said}" in caplog.text


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_what_a_handler_starts_has_not_that_socket(play: Play, forked: bool) -> None:
    asks = (
        f"import subprocess, sys\nsource = {LINK!r} + 'print(link())'\n"
        "said = subprocess.check_output([sys.executable, '-ISc', source], close_fds=False, text=True)\n"
        "print('here', link().type.name, 'there', said, flush=True)\n"
    )

    async def act(version: Version) -> None:
        _, witness = await version.load()
        assert witness.lines[0] == "here SOCK_SEQPACKET there None"

    play(LINK + asks + FINE, act, forked=forked)


def test_only_a_child_of_the_process_that_imports_is_taken_for_a_worker_and_no_other_is_killed(
    play: Play,
) -> None:
    says = (
        "import time\nif os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        f"        while os.getppid() != {os.getpid()}:\n            pass\n"
        "        print('child', os.getpid(), flush=True)\n"
        f"        link().send({encode(Forked(0, 1))!r})\n"
        "        time.sleep(1000)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "time.sleep(1000)\n"
    )

    async def act(version: Version) -> None:
        _, witness = await version.begin()
        assert await witness.exit() == -signal.SIGKILL
        why = version.sharing.imports["why"]
        assert "said of a process that it has not forked that it is a worker" in why
        other = psutil.Process(child_in(witness))
        assert other.ppid() == os.getpid(), "it lives"
        other.kill()
        other.wait(60)

    play(LINK + says, act)


def test_a_worker_that_lives_has_not_ended_whatever_the_process_that_forked_it_says(
    play: Play, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    says = (
        "import pathlib\nfrom torchkeeper.wire.frames import Exited, encode\n"
        f"told = pathlib.Path({str(told)!r})\n"
        "def lie():\n"
        "    if told.exists():\n"
        "        link().send(encode(Exited(int(told.read_text()), 0, 0)))\n"
        "os.register_at_fork(after_in_parent=lie)\n"
    )

    async def act(version: Version) -> None:
        worker, _ = await version.load()
        told.write_text(str(worker.pid))
        await version.load()
        await become(lambda: version.sharing.imports["shared"] is False)
        assert version.sharing.imports["why"].endswith("said of a worker that lives that it has ended")
        assert worker.alive
        assert name_of(worker.pid or 0) == "m"

    play(LINK + says + SAYS, act)


def test_a_fork_that_has_ended_before_it_is_looked_for_has_ended_as_it_did(
    play: Play, tmp_path: Path
) -> None:
    go, gone = tmp_path / "go", tmp_path / "gone"
    source = (
        f"import os, pathlib, time\nprint('imported', flush=True)\ngo = pathlib.Path({str(go)!r})\n"
        "while not go.exists():\n    time.sleep(0.01)\n"
        "def handle(data, context):\n"
        f"    pathlib.Path({str(gone)!r}).write_text(f'{{os.getpid()}}.')\n"
        "    os._exit(7)\n"
    )

    async def act(version: Version) -> None:
        _, witness = await version.begin()
        await witness.until(lambda: witness.lines)
        go.touch()
        deadline = time.monotonic() + 60
        while not (gone.exists() and (pid := gone.read_text()).endswith(".")):  # the event loop waits, too
            assert time.monotonic() < deadline
        while psutil.pid_exists(int(pid[:-1])):
            assert time.monotonic() < deadline
        assert await witness.exit() == 7
        assert version.sharing.imports["shared"] is True
        version.sharing.rest()

    play(source, act)


def test_a_thread_that_comes_late_ends_the_sharing(play: Play) -> None:
    late = (
        "import os, threading, time\n"
        "def beat():\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
        "os.register_at_fork(after_in_parent=beat)\n"
    )

    async def act(version: Version) -> None:
        await version.load()
        await version.load()
        assert version.sharing.imports == {"shared": False, "why": "it started 1 thread (Thread-1 (sleep))"}
        assert len(imported_by(version)) == 2

    play(late + SAYS, act)


@pytest.mark.parametrize(
    ("end", "how"),
    [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "killed by signal 9")],
)
def test_whose_forks_end_at_once_imports_for_itself(play: Play, end: str, how: str) -> None:
    ends = f"import os\nos.register_at_fork(after_in_child=lambda: {end})\n"

    async def act(version: Version) -> None:
        loads = [await version.load() for _ in range(2)]
        assert version.sharing.imports == {"shared": False, "why": f"its forks end at once ({how})"}
        assert imported_by(version) == [worker.pid for worker, _ in loads], "none does it twice"

    play(ends + SAYS, act)


def test_forks_that_end_at_once_later_on_end_the_sharing_but_no_worker(play: Play, tmp_path: Path) -> None:
    late = tmp_path / "late"
    ends = (
        f"import os, time\nlate = {str(late)!r}\nparent = os.getpid()\n"
        "def end():\n"
        "    if os.path.exists(late) and os.getppid() == parent:\n"
        "        os.fork() and os._exit(7)  # and what it held is held on\n"
        "        time.sleep(1000)\n"
        "os.register_at_fork(after_in_child=end)\n"
    )

    async def act(version: Version) -> None:
        await version.load()
        late.touch()
        await version.load()
        assert version.sharing.imports == {"shared": False, "why": "its forks end at once (exit code 7)"}
        assert len(imported_by(version)) == 2
        assert all(worker.alive for worker, _ in version.workers)

    play(ends + SAYS, act)


@pytest.mark.parametrize("turns", range(8))
def test_a_cancelled_launch_leaves_nothing(play: Play, turns: int) -> None:
    async def act(version: Version) -> None:
        for warm in (False, True):
            if warm:
                await version.load()
            task = asyncio.ensure_future(version.begin())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

    play(SAYS, act)


@pytest.mark.parametrize("turns", [0, 5, 50, 500])
def test_a_worker_that_is_killed_while_it_becomes_another_process_does_not_come_back(
    play: Play, turns: int
) -> None:
    """The signal reaches the process that imports; what it has forked by then goes, too."""

    async def act(version: Version) -> None:
        worker, witness = await version.begin()
        await witness.until(lambda: witness.lines)
        for _ in range(turns):
            await asyncio.sleep(0)
        worker.kill()
        assert await witness.exit() == -signal.SIGKILL
        version.sharing.rest()
        await become(lambda: "m" not in map(name_of, state()[1]))

    play(SAYS, act)


def test_what_a_worker_prints_is_its_own_and_so_are_its_random_numbers(play: Play) -> None:
    source = (
        "import random\nclass Handler:\n"
        "    def initialize(self, context):\n        print('drawn', random.random())\n"
        "    def handle(self, data, context):\n        return data\n"
    )

    async def act(version: Version) -> None:
        loads = await asyncio.gather(*(version.load() for _ in range(3)))
        await asyncio.gather(*(witness.until(lambda w=witness: w.lines) for _, witness in loads))
        said = [witness.lines for _, witness in loads]
        assert all(len(lines) == 1 for lines in said)
        assert len({lines[0] for lines in said}) == 3

    play(source, act)


DRAWS = """
import torch
{seed}
class Handler:
    def initialize(self, context):
        print("drawn", torch.rand(1).item(), flush=True)
    def handle(self, data, context):
        return data
"""


@pytest.mark.parametrize(
    ("seed", "kinds"), [("", 2), ("torch.manual_seed(7)", 1)], ids=["unseeded", "seeded"]
)
def test_torch_that_comes_with_the_handler_draws_for_each_worker_unless_the_module_seeds_it(
    tmp_path: Path, environ: dict[str, str], seed: str, kinds: int
) -> None:
    async def work(launcher: Launcher) -> None:
        version = Version(tmp_path, launcher, dict(os.environ), DRAWS.format(seed=seed), forked=False)
        loads = await asyncio.gather(*(version.load() for _ in range(2)))
        await asyncio.gather(*(witness.until(lambda w=witness: w.lines) for _, witness in loads))
        assert version.sharing.imports["shared"]
        assert len({witness.lines[0] for _, witness in loads}) == kinds
        await version.end()

    with_launcher(environ, work)


def test_a_library_of_the_archive_is_the_one_that_is_imported(
    play: Play, tmp_path: Path, environ: dict[str, str]
) -> None:
    """Whoever shares imports looks at NumPy, and so imports it before the handler does."""
    (tmp_path / "light" / "numpy.py").write_text("where = 'the server'\n")

    async def act(version: Version) -> None:
        Path(version.spec.model_dir, "numpy.py").write_text("where = 'the archive'\n")
        loads = await asyncio.gather(*(version.load() for _ in range(2)))
        assert version.sharing.imports["shared"]
        assert [line for _, witness in loads for line in witness.lines] == ["numpy of the archive"]

    play("import numpy\nprint('numpy of', numpy.where, flush=True)\n" + FINE, act, forked=False)


@pytest.mark.parametrize(
    "name",
    ["n" * 200, os.fsdecode(b"n\xff")],
    ids=["long", "no text"],
)
def test_a_reason_is_bounded_text(play: Play, tmp_path: Path, name: str) -> None:
    source = f"kept = [open({str(tmp_path / name)!r}, 'w') for _ in range(600)]\n"

    async def act(version: Version) -> None:
        await version.load()
        why = version.sharing.imports["why"]
        assert why.startswith("it opened ")
        assert why.encode()
        assert len(why) < 1100

    play(source + FINE, act)


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_a_model_may_be_called_like_an_option(play: Play, forked: bool) -> None:
    async def act(version: Version) -> None:
        version._launch = replace(version._launch, title="-m")
        worker, _ = await version.load()
        assert worker.pid is not None
        assert name_of(worker.pid) == "-m"

    play(FINE, act, forked=forked)


# --- the model, too ---------------------------------------------------------------------------------------

#: A handler that says where it is loaded.
LOADS = (
    "import os, threading, time\n"
    "class Handler:\n"
    "    def initialize(self, context):\n"
    "        print('imported by', os.getpid(), flush=True)\n"
    "{more}"
    "    def handle(self, data, context):\n"
    "        return data\n"
)
THREAD = "        threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "spawned"])
def test_one_process_loads_and_the_workers_are_its_forks(play: Play, forked: bool) -> None:
    async def act(version: Version) -> None:
        loads = await asyncio.gather(*(version.load() for _ in range(3)))
        (loader,) = imported_by(version)
        assert version.sharing.weights == {"shared": True}
        assert version.sharing.imports == {"shared": True, "pid": loader}
        assert name_of(loader) == "weights:m"
        assert {psutil.Process(worker.pid or 0).ppid() for worker, _ in loads} == {loader}

    play(LOADS.format(more=""), act, forked=forked, weights=True)


def test_a_load_that_cannot_be_shared_serves_one_worker_and_the_others_share_their_imports(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(version: Version) -> None:
        loads = await asyncio.gather(*(version.load() for _ in range(4)))
        assert version.sharing.weights["shared"] is False
        assert version.sharing.weights["why"].startswith("it started 1 thread")
        assert version.sharing.imports["shared"] is True
        assert sorted(imported_by(version)) == sorted(worker.pid for worker, _ in loads), "each loads once"
        parents = [psutil.Process(worker.pid or 0).ppid() for worker, _ in loads]
        assert parents.count(version.sharing.imports["pid"]) == 3, "all but the first"

    play(LOADS.format(more=THREAD), act, weights=True)
    assert "workers of m_1.0 load the model for themselves: it started 1 thread" in caplog.text


def test_a_load_for_all_that_crashes_is_that_workers_end_and_the_next_one_tries(
    play: Play, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    crash = f"        if not os.path.exists({str(go)!r}):\n            os.kill(os.getpid(), 11)\n"

    async def act(version: Version) -> None:
        first, witness = await version.begin()
        waits = asyncio.ensure_future(version.begin())
        assert await witness.exit() == -signal.SIGSEGV
        assert "Current thread" in first.crash
        _, witness = await waits
        assert await witness.exit() == -signal.SIGSEGV
        assert version.sharing.imports == version.sharing.weights == {}
        go.touch()
        await version.load()
        assert version.sharing.weights == {"shared": True}

    play(LOADS.format(more=crash), act, weights=True)


@pytest.mark.parametrize(
    "fails",
    ["raise ValueError('not yet')", "os.kill(os.getpid(), 9)", "time.sleep(1000)"],
    ids=["raises", "is killed", "is sent away"],
)
def test_those_who_wait_for_a_load_that_fails_are_forked_from_the_next_that_does_not(
    play: Play, tmp_path: Path, fails: str
) -> None:
    once = tmp_path / "once"
    more = (
        f"        if not os.path.exists({str(once)!r}):\n"
        f"            os.mkdir({str(once)!r})\n"
        f"            {fails}\n"
    )

    async def act(version: Version) -> None:
        first, witness = await version.begin()
        waiting = [asyncio.ensure_future(version.load()) for _ in range(5)]
        await become(once.exists)
        if "sleep" in fails:
            first.terminate()
        await witness.exit()
        loads = await asyncio.gather(*waiting)
        tried, loader = imported_by(version)
        assert tried == first.pid
        assert version.sharing.weights == {"shared": True}
        assert {psutil.Process(worker.pid or 0).ppid() for worker, _ in loads} == {loader}

    play(LOADS.format(more=more), act, weights=True)
