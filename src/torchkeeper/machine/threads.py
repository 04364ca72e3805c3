"""Threads for work that waits for disks and networks, and that nobody has to wait for.

asyncio's own threads cannot be told to stop, and the interpreter waits for them at its end: a download from a
host that has gone silent would keep the server. These hear when nobody wants their result any more, and end
with the process if they do not.

Nor does the event loop wait for a thread to begin, as `threading.Thread.start` and asyncio's own threads do:
one whose first memory cannot be had never does, and would hold up the server for good.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar

#: Seconds in which work that nobody wants any more may clean up before it is left behind.
LAST_WORDS = 1.0
#: Seconds in which a thread begins that ever will.
BEGIN = 10.0
#: Threads that stand ready for asyncio's `to_thread`; more bodies are not gone through at a time.
STANDING = 4

T = TypeVar("T")

#: To be called between the steps of the work: raises `Abandoned` when nobody wants it any more.
Check: TypeAlias = Callable[[], None]


class Abandoned(Exception):
    """Nobody waits for this work any more."""


class NoThread(OSError):
    """The system gives no thread."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "no thread can be started")


def never() -> None:
    """The check of work that is always wanted."""


def _drop(result: object) -> None:
    """What becomes of most results that nobody wants."""


async def in_thread(work: Callable[[Check], T], undo: Callable[[T], object] = _drop) -> T:
    """What `work` returns, which blocks and calls its argument now and then.

    Whoever is cancelled here waits `LAST_WORDS` seconds for the work to notice; a result that comes
    nevertheless is undone.

    Raises:
        NoThread: there is none for it, and it was not begun.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    abandoned = threading.Event()
    #: Taken by the thread when it begins, or by who has waited for that in vain.
    turn = [True]

    def check() -> None:
        if abandoned.is_set():
            raise Abandoned

    def run() -> None:
        if not _take(turn):
            return
        try:
            result = work(check)
        except BaseException as error:  # noqa: BLE001 - it is the waiting coroutine's
            _tell(loop, done.set_exception, error)
        else:
            if not _tell(loop, done.set_result, result):
                undo(result)

    def undo_late(done: asyncio.Future[T]) -> None:
        if done.exception() is None:
            undo(done.result())

    def give_up() -> None:
        if _take(turn) and not done.done():
            done.set_exception(NoThread())

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        raise NoThread from None
    late = loop.call_later(BEGIN, give_up)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        abandoned.set()
        done.add_done_callback(undo_late)
        await asyncio.wait({done}, timeout=LAST_WORDS)
        raise
    finally:
        late.cancel()


async def at_any_rate(work: Callable[[], object]) -> None:
    """Does work that blocks in a thread or, where there is none, here: better that others wait a moment."""
    try:
        await in_thread(lambda check: work())
    except NoThread:
        work()


def _take(turn: list[bool]) -> bool:
    """Whether the turn was still to be had; only one gets it."""
    try:
        return turn.pop()
    except IndexError:
        return False


def standing_threads() -> concurrent.futures.Executor:
    """Threads for asyncio's `to_thread`, all of which have begun."""
    threads = concurrent.futures.ThreadPoolExecutor(STANDING, "standing")
    begun = threading.Barrier(STANDING + 1)
    for _ in range(STANDING):
        threads.submit(begun.wait)
    begun.wait()
    return threads


def _tell(loop: asyncio.AbstractEventLoop, settle: Callable[[T], None], outcome: T) -> bool:
    """Hands an outcome to the event loop; False if that is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle, outcome)
        return True
    return False
