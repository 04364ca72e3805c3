"""Worker processes as the front sees them: what they say, and above all how they end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
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
    run,
    spec_of,
    state,
    template_of,
    with_launcher,
)

from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.pool import process
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.process import Ends, WorkerProcess, make_ends
from torchkeeper.wire.frames import Cancel, LoadFailed, Message, Stop, WireError, encode

pytestmark = linux

#: A child that has whatever the worker has, and says its own number.
FORKS = """
import os, signal, sys, time

child = os.fork()
if child == 0:
    time.sleep(1000)
print("child", child, flush=True)
"""
DIES = {
    "killed": (FORKS + "os.kill(os.getpid(), signal.SIGKILL)\n", -signal.SIGKILL),
    "leaves": (FORKS + "print('last words', end='', flush=True)\nos._exit(7)\n", 7),
    "does not load": (FORKS + "raise ValueError('no such weights')\n", 3),
}


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
        assert witness.faults == ["the worker has closed its channel"]

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


def by_hand(work: Callable[[WorkerProcess, Witness, Ends], Awaitable[None]]) -> None:
    """Runs work with a worker whose end of everything is the test's own."""

    async def whole() -> None:
        witness = Witness()
        worker = WorkerProcess(1, witness)
        ours, theirs = make_ends()
        await worker.adopt(ours)
        try:
            await work(worker, witness, theirs)
        finally:
            theirs.close()
            worker.discard()

    run(whole())


def test_frames_and_lines_come_whole_however_they_are_written() -> None:
    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        frame = encode(Cancel(1, (2,)))
        theirs.channel.sendall(frame + frame[:5])
        theirs.out.write(b"one\ntwo \xff\nthr")
        theirs.err.write(b"x" * 10)
        await witness.until(lambda: len(witness.lines) == 2 and witness.frames)
        assert witness.lines == ["one", "two \N{REPLACEMENT CHARACTER}"]
        assert witness.frames == [Cancel(1, (2,))]
        theirs.channel.sendall(frame[5:])
        theirs.out.write(b"ee\n")
        await witness.until(lambda: len(witness.lines) == 3 and len(witness.frames) == 2)
        assert witness.lines[2] == "three"

    by_hand(work)


def test_a_line_without_an_end_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MAX_LINE", 100)

    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        theirs.out.write(b"x" * 101)
        await witness.until(lambda: witness.lines)
        theirs.out.write(b"y\n")
        await witness.until(lambda: len(witness.lines) == 2)
        assert witness.lines == ["x" * 101, "y"]

    by_hand(work)


def test_what_is_held_is_read_later_and_nothing_of_it_is_lost() -> None:
    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        worker.hold()
        theirs.channel.sendall(encode(Stop()))
        theirs.out.write(b"printed\n")
        await witness.until(lambda: witness.lines)
        assert witness.frames == []
        worker.let_on()
        await witness.until(lambda: witness.frames)

    by_hand(work)


def test_what_is_sent_arrives_until_the_end_and_the_end_is_told_once() -> None:
    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        worker.send(b"frame")
        theirs.channel.settimeout(60)
        assert theirs.channel.recv(100) == b"frame"
        theirs.out.write(b"last words")
        theirs.channel.sendall(encode(Stop()))
        os.set_blocking(theirs.life.fileno(), False)
        assert theirs.life.read() is None
        worker.ended(7)
        worker.ended(8)
        assert (witness.exits, witness.lines, witness.frames) == ([7], ["last words"], [Stop()])
        assert theirs.life.read() == b"", "whoever waits for the front's end sees it"
        for late in (worker.hold, worker.let_on, worker.terminate, worker.kill):
            late()
        worker.send(b"late")
        assert not worker.alive

    by_hand(work)


def test_an_end_before_all_is_set_up_is_told_then() -> None:
    async def work() -> None:
        witness = Witness()
        worker = WorkerProcess(1, witness)
        ours, theirs = make_ends()
        theirs.close()
        worker.ended(3)
        assert witness.exits == []
        await worker.adopt(ours)
        assert witness.exits == [3]

    run(work())


def descriptors() -> int:
    """How many there are, but for what event loops keep in reserve."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            count += os.readlink(entry) != os.devnull
    return count


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_ends_that_the_event_loop_does_not_take_are_closed(taken: int) -> None:
    async def work() -> None:
        before = descriptors()
        worker = WorkerProcess(1, Witness())
        ours, theirs = make_ends()
        (ours.out, ours.err, ours.channel)[taken].close()
        with pytest.raises((OSError, ValueError)):
            await worker.adopt(ours)
        worker.discard()
        theirs.close()
        await become(lambda: descriptors() == before)

    run(work())


def test_a_worker_that_breaks_the_format_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
            worker.becomes(HeldProcess(child.pid))
            theirs.channel.sendall(b"\xff" * 8)
            async with asyncio.timeout(60):
                while child.poll() is None:
                    await asyncio.sleep(0.001)
            assert child.returncode == -signal.SIGKILL
            worker.ended(child.returncode)
        assert witness.exits == [-signal.SIGKILL]
        (fault,) = witness.faults
        assert fault is not None
        assert fault.startswith("the worker broke its channel's format: ")
        assert f"{fault} and is killed" in caplog.text

    by_hand(work)


def test_a_worker_that_says_what_it_cannot_say_is_killed_and_not_heard_any_more() -> None:
    heard = []

    def on_frame(message: Message, raw: bytes) -> None:
        heard.append(message)
        raise WireError("not now")

    async def work(worker: WorkerProcess, witness: Witness, theirs: Ends) -> None:
        witness.on_frame = on_frame  # type: ignore[method-assign]
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
            worker.becomes(HeldProcess(child.pid))
            theirs.channel.sendall(encode(Stop()) * 2)
            await asyncio.to_thread(child.wait, 60)
            theirs.channel.sendall(encode(Stop()))
            worker.ended(child.returncode)
        assert witness.faults == ["the worker broke its channel's format: not now"]
        assert heard == [Stop()]

    by_hand(work)


def test_ends_that_cannot_be_made_leave_no_descriptor() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = state()[0]
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = []
    while (filler := os.dup(0)) < highest:
        fillers.append(filler)
    fillers.append(filler)
    failed = 0
    try:
        for more in range(1, 10):
            resource.setrlimit(resource.RLIMIT_NOFILE, (filler + more, hard))
            with pytest.raises(OSError, match="Too many open files"):
                make_ends()
            failed += 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
    assert failed == 9
    assert state()[0] == before
