"""Blocking work: its result, its error, and what becomes of it when nobody wants it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from shortage import no_threads
from torchkeeper.machine import threads
from torchkeeper.machine.threads import Abandoned, Check, NoThread, at_any_rate, in_thread, standing_threads


def test_a_result_and_an_error() -> None:
    def fail(check: Check) -> None:
        raise LookupError("no such thing")

    assert asyncio.run(in_thread(lambda check: threading.get_ident())) != threading.get_ident()
    with pytest.raises(LookupError, match="no such thing"):
        asyncio.run(in_thread(fail))


def test_work_that_nobody_wants_ends_between_its_steps() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(check: Check) -> None:
        begun.set()
        try:
            while True:
                check()
        except Abandoned:
            ended.set()
            raise

    async def run() -> None:
        task = asyncio.create_task(in_thread(work))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(run())


def test_a_result_that_nobody_wants_is_undone() -> None:
    begun, go_on = threading.Event(), threading.Event()
    undone: list[str] = []

    def work(check: Check) -> str:
        begun.set()
        go_on.wait(60)
        return "a file"

    async def run() -> None:
        task = asyncio.create_task(in_thread(work, undone.append))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert undone == ["a file"]


def test_work_that_does_not_notice_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It outlives the event loop, and what comes of it then is undone all the same."""
    monkeypatch.setattr(threads, "LAST_WORDS", 0.01)
    begun, go_on, undone = threading.Event(), threading.Event(), threading.Event()

    def work(check: Check) -> str:
        begun.set()
        go_on.wait(60)
        return "a file"

    async def run() -> None:
        task = asyncio.create_task(in_thread(work, lambda result: undone.set()))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert not undone.is_set()
    go_on.set()
    assert undone.wait(60)


def test_a_system_without_threads_is_told_at_once() -> None:
    with no_threads(), pytest.raises(NoThread, match="no thread can be started"):
        asyncio.run(in_thread(lambda check: None))


def test_a_thread_that_never_begins_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is where there is no memory for it; its work is not done later either."""
    monkeypatch.setattr(threads, "BEGIN", 0.01)
    kept: list[Callable[[], None]] = []
    done: list[bool] = []

    def keep(run: Callable[[], None], arguments: tuple[()]) -> None:
        kept.append(run)

    monkeypatch.setattr(threads, "_thread", SimpleNamespace(start_new_thread=keep))

    async def run() -> None:
        work = asyncio.create_task(in_thread(lambda check: done.append(True)))
        await asyncio.sleep(0)
        assert not work.done()
        with pytest.raises(NoThread):
            await work

    asyncio.run(run())
    (late,) = kept
    late()
    assert not done


def test_what_must_be_done_is_done_here_where_there_is_no_thread() -> None:
    done: list[int] = []
    asyncio.run(at_any_rate(lambda: done.append(threading.get_ident())))
    with no_threads():
        asyncio.run(at_any_rate(lambda: done.append(threading.get_ident())))
    assert done[0] != done[1] == threading.get_ident()


def test_python_remembers_no_thread_that_has_ended() -> None:
    before = set(threading.enumerate())

    async def run() -> None:
        together = threading.Barrier(10)
        await asyncio.gather(*(in_thread(lambda check: together.wait(60)) for _ in range(10)))

    asyncio.run(run())
    assert not set(threading.enumerate()) - before


def test_standing_threads_have_all_begun() -> None:
    def standing() -> int:
        return sum(thread.name.startswith("standing") for thread in threading.enumerate())

    with standing_threads() as executor:
        assert standing() == threads.STANDING
        assert executor.submit(lambda: 1).result(60) == 1
        assert standing() == threads.STANDING
