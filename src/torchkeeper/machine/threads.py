"""Threads for work that waits for disks and networks, and that nobody has to wait for.

asyncio's own threads cannot be told to stop, and the interpreter waits for them at its end: a download from a
host that has gone silent would keep the server. These hear when nobody wants their result any more, and end
with the process if they do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar

#: Seconds in which work that nobody wants any more may clean up before it is left behind.
LAST_WORDS = 1.0

T = TypeVar("T")

#: To be called between the steps of the work: raises `Abandoned` when nobody wants it any more.
Check: TypeAlias = Callable[[], None]


class Abandoned(Exception):
    """Nobody waits for this work any more."""


def never() -> None:
    """The check of work that is always wanted."""


def _drop(result: object) -> None:
    """What becomes of most results that nobody wants."""


async def in_thread(work: Callable[[Check], T], undo: Callable[[T], object] = _drop) -> T:
    """What `work` returns, which blocks and calls its argument now and then.

    Whoever is cancelled here waits `LAST_WORDS` seconds for the work to notice; a result that comes
    nevertheless is undone.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    abandoned = threading.Event()

    def check() -> None:
        if abandoned.is_set():
            raise Abandoned

    def run() -> None:
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

    threading.Thread(target=run, name="blocking", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        abandoned.set()
        done.add_done_callback(undo_late)
        await asyncio.wait({done}, timeout=LAST_WORDS)
        raise


def _tell(loop: asyncio.AbstractEventLoop, settle: Callable[[T], None], outcome: T) -> bool:
    """Hands an outcome to the event loop; False if that is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle, outcome)
        return True
    return False
