"""The end of a server: what is asked for, what is cancelled, and that nothing keeps it."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys

import pytest

from torchkeeper.deadlines import LAST, WORKER_STOP
from torchkeeper.ending import Ending, step


async def forever() -> None:
    await asyncio.Event().wait()


async def soon() -> None:
    await asyncio.sleep(0)


async def fails() -> None:
    raise LookupError("no such thing")


def test_a_step_has_its_time_and_does_not_keep_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                if over.is_set():
                    raise

    async def run() -> None:
        await step("what ends", soon())
        assert not caplog.records
        await step("what fails", fails())
        task = asyncio.create_task(stubborn())
        await step("what hangs", task, 0.01)
        over.set()
        task.cancel()

    over = asyncio.Event()
    asyncio.run(run())
    assert "the end of what fails failed: LookupError('no such thing')" in caplog.text
    assert "the end of what hangs took longer than 0.01 s" in caplog.text


def test_a_life_is_limited_where_no_thread_watches_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("unable to start watchdog thread")

    monkeypatch.setattr("faulthandler.dump_traceback_later", refuse)
    before = signal.getsignal(signal.SIGALRM)
    try:
        Ending(5).limit_life()
        left = signal.alarm(0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert 5 < left <= math.ceil(5 + WORKER_STOP + LAST)


#: A server's life in small: it says what it does; its argument says what its start does.
LIFE = """
import asyncio, concurrent.futures, sys
from torchkeeper import ending

ending.hold_signals()

async def start(kind):
    if kind == "hasty":
        ending._MOMENT = 0
    if kind in ("quick", "hasty"):
        return
    print("starting", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("interrupted", flush=True)

async def life(kind):
    end = ending.Ending()
    print("held", flush=True)
    sys.stdin.readline()
    end.hear()
    threads.submit(bool).result()  # a thread that may get signals, too
    if await end.unless_asked(start(kind)):
        print("up", flush=True)
        await end.wait()
        drained = asyncio.create_task(asyncio.sleep(600))
        print("draining", flush=True)
        print(await end.unless_at_once(drained, 600.0), end.at_once, flush=True)
    end.hear_no_more()

with concurrent.futures.ThreadPoolExecutor() as threads:
    asyncio.run(life(sys.argv[1]))
    print("over", flush=True)
    sys.stdin.readline()
"""


class Life:
    """Such a process."""

    def __init__(self, kind: str, *before: str) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", LIFE, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.says() == "held"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def over(self) -> int:
        """Its exit code; a signal that comes too late changes nothing."""
        assert self.says() == "over"
        self.process.terminate()
        rest, _ = self.process.communicate("\n", timeout=60)
        assert rest == ""
        return self.process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_came_too_early_is_heard(number: int) -> None:
    life = Life("slow")
    os.kill(life.process.pid, number)
    life.go_on()
    assert life.says() == "starting"
    assert life.says() == "interrupted"
    assert life.over() == 0


def test_a_start_is_interrupted() -> None:
    life = Life("slow")
    life.go_on()
    assert life.says() == "starting"
    os.kill(life.process.pid, signal.SIGTERM)
    assert life.says() == "interrupted"
    assert life.over() == 0


def test_a_hangup_means_nothing_under_nohup() -> None:
    life = Life("quick", "nohup")
    os.kill(life.process.pid, signal.SIGHUP)
    life.go_on()
    assert life.says() == "up"
    os.kill(life.process.pid, signal.SIGHUP)
    os.kill(life.process.pid, signal.SIGTERM)
    assert life.says() == "draining"
    os.kill(life.process.pid, signal.SIGINT)
    assert life.says() == "False True"
    assert life.over() == 0


def test_a_second_sigterm_at_once_is_the_first_and_a_second_sigint_ends_the_waiting() -> None:
    life = Life("quick")
    life.go_on()
    assert life.says() == "up"
    os.kill(life.process.pid, signal.SIGTERM)
    assert life.says() == "draining"
    os.kill(life.process.pid, signal.SIGTERM)
    os.kill(life.process.pid, signal.SIGINT)
    assert life.says() == "False True"
    assert life.over() == 0


def test_a_second_sigterm_after_a_moment_ends_the_waiting() -> None:
    life = Life("hasty")
    life.go_on()
    assert life.says() == "up"
    os.kill(life.process.pid, signal.SIGTERM)
    assert life.says() == "draining"
    os.kill(life.process.pid, signal.SIGTERM)
    assert life.says() == "False True"
    assert life.over() == 0


#: A process whose event loop hangs for good after it was told to end.
HANGS = """
import asyncio, time
from torchkeeper import ending

ending.WORKER_STOP = 0
ending.LAST = 0.2

async def life():
    end = ending.Ending(0)
    end.hear()
    print("up", flush=True)
    await end.wait()
    time.sleep(600)

asyncio.run(life())
"""


def test_whatever_hangs_the_process_is_gone_after_its_grace() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Timeout" in said
    assert "in life" in said
