"""Workers that are the front's own children, and descendants of those that are gone.

A worker that has lost its parent, by accident or on purpose, is waited for here. A dead one's descendants are
ended with their group and reaped. A process that made a session of its own meant to stay, as it does under
TorchServe: it is not sought, for once its parent is gone nothing tells it from others. It becomes a child of
the front as well, which sees to it that no zombie stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable

from torchkeeper.deadlines import KILLED
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.machine.process_group import kill_members
from torchkeeper.pool.process import WorkerProcess

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds between two looks at a group that is being ended: the first, and at most.
_SOON, _LATE = 0.005, 0.5
#: Seconds that a zombie is given to be waited for by whoever started it.
_ROUND = 1.0
#: Seconds after which a worker that could not be watched is looked for again.
_LOOK_AGAIN = 0.5
#: Told of the end of a worker's process: its id, its exit code or minus the signal's number (None: nobody
#: knows), and the most memory that it held (0: unknown). A worker may live on in another process.
OnEnd = Callable[[WorkerProcess, int, int | None, int], None]


def watch_child(process: HeldProcess, worker: WorkerProcess, on_end: OnEnd) -> None:
    """Waits for a worker's process which is our child, and was made so by the kernel."""
    loop, pid = asyncio.get_running_loop(), process.pid
    if not process.hold():  # no descriptor is left: the next look will find one, or the process gone
        loop.call_later(_LOOK_AGAIN, watch_child, process, worker, on_end)
        return
    if (watch := process.fd) is None:
        on_end(worker, pid, None, 0)
        return

    def reap() -> None:
        loop.remove_reader(watch)
        kill_members(pid)
        try:
            _, status, used = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            on_end(worker, pid, None, 0)
        else:
            on_end(worker, pid, os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024)

    loop.add_reader(watch, reap)


async def bury(group: int) -> None:
    """Ends the descendants of a worker that is gone, and reaps those that became our children."""
    pause, deadline = _SOON, time.monotonic() + KILLED
    while kill_members(group) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LATE)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants that lose theirs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


async def reap_orphans() -> None:
    """Reaps for ever the adopted children that nobody waits for.

    Whoever starts a child waits for it and is quick: a zombie that is there for a whole round is nobody's.
    """
    before = None
    while True:
        await asyncio.sleep(_ROUND)
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            found = None
        pid = None if found is None else found.si_pid
        if pid is not None and pid == before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            pid = None
        before = pid
