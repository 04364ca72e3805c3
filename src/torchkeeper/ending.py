"""When the server is told to end, and that it does: signals, steps with deadlines, and the last resort.

SIGTERM, SIGINT and a terminal that hangs up all mean an orderly end, and a second SIGTERM or SIGINT (Ctrl-C
again) that nothing more is waited for. SIGTERM twice within a moment is once, for supervisors send it so: to
the process and to its group.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import math
import signal
from collections.abc import Awaitable, Coroutine
from typing import Any

from torchkeeper.deadlines import DRAIN, LAST, STEP, WORKER_STOP
from torchkeeper.machine.signals import end_signals

logger = logging.getLogger(__name__)

_STDERR = 2
#: Seconds in which a second SIGTERM says nothing new.
_MOMENT = 1.0


def hold_signals() -> None:
    """Lets signals wait until `Ending.hear`; threads that are made meanwhile never get any."""
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals())


class Ending:
    """Whether the server shall end, and how soon.

    Args:
        patience: seconds that requests have to be answered after the first signal.
    """

    def __init__(self, patience: float = DRAIN) -> None:
        self._patience = patience
        self._asked = asyncio.Event()
        self._asked_at = 0.0
        self._at_once = asyncio.Event()
        #: The signal after which nothing is waited for any more.
        self._last: int | None = None
        self._limited = False

    @property
    def at_once(self) -> bool:
        """Whether nothing is to be waited for any more."""
        return self._at_once.is_set()

    @property
    def exit_code(self) -> int:
        """0 after an orderly end, else as shells have it."""
        return 0 if self._last is None else 128 + self._last

    def hear(self) -> None:
        """Takes signals from now on, those that were held first; on the event loop."""
        loop = asyncio.get_running_loop()
        for number in end_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, end_signals())

    def hear_no_more(self) -> None:
        """One that comes while the interpreter ends is too late to mean anything; on the event loop."""
        loop = asyncio.get_running_loop()
        for number in end_signals():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if not self._asked.is_set():
            self.limit_life()
            self._asked_at = now
            self._asked.set()
        elif number == signal.SIGINT or (number == signal.SIGTERM and now - self._asked_at > _MOMENT):
            self._last = self._last or number
            self._at_once.set()

    def limit_life(self) -> None:
        """From now on the process has its grace and no more, whatever hangs.

        Where it hangs is then said on stderr, and the exit code is 1. The limit needs neither the event loop
        nor the interpreter's lock.
        """
        if not self._limited:
            self._limited = True
            grace = self._patience + WORKER_STOP + LAST
            try:
                faulthandler.dump_traceback_later(grace, exit=True, file=_STDERR)
            except RuntimeError:  # the system gives no thread: then by a signal, without a word
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(math.ceil(grace))

    async def wait(self) -> None:
        """Returns when the end is asked for."""
        await self._asked.wait()

    async def unless_asked(self, work: Coroutine[Any, Any, None]) -> bool:
        """Does the work, unless the end is asked for before it is done: then it is cancelled (False)."""
        task = asyncio.get_running_loop().create_task(work)
        if not await _done_before(task, self._asked, None):
            task.cancel()
            await step("what was begun", task)
            return False
        task.result()
        return True

    async def unless_at_once(self, task: asyncio.Task[Any], seconds: float) -> bool:
        """Whether a task was done in its time, and before nothing was to be waited for any more."""
        return await _done_before(task, self._at_once, seconds)


async def _done_before(task: asyncio.Task[Any], event: asyncio.Event, seconds: float | None) -> bool:
    other = asyncio.get_running_loop().create_task(event.wait())
    await asyncio.wait({task, other}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    other.cancel()
    return task.done()


async def step(what: str, work: Awaitable[object], seconds: float = STEP) -> None:
    """Gives a step of the end its time: one that fails or takes longer is told of, and the next begins."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        logger.error("the end of %s took longer than %g s and is not waited for", what, seconds)
        task.cancel()
    elif not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the end of %s failed: %r", what, error, exc_info=error)
