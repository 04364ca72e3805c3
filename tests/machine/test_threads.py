"""Blocking work: its result, its error, and what becomes of it when nobody wants it any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from torchkeeper.machine import threads
from torchkeeper.machine.threads import Abandoned, Check, in_thread


def test_a_result_and_an_error() -> None:
    def fail(check: Check) -> None:
        raise LookupError("no such thing")

    assert asyncio.run(in_thread(lambda check: threading.current_thread().daemon))
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
