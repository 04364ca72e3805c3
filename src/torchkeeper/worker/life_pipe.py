"""The pipe that the front holds as long as it lives and wants a worker: the worker ends with it.

A thread waits for that, also while the worker computes. Where there must be no second thread the kernel does.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from torchkeeper.machine.process_group import kill_members

#: Exit code of a worker whose front is gone.
EXIT_ORPHANED = 4


def watch_life(life_fd: int) -> None:
    """Starts the thread that ends this process and its descendants when the front closes the life pipe."""
    threading.Thread(target=end_with_the_front, args=(life_fd,), name="life", daemon=True).start()


def end_with_the_front(life_fd: int) -> NoReturn:
    """Waits for the front to close the life pipe, and ends this process and its descendants."""
    os.read(life_fd, 1)
    kill_members(os.getpid())  # if it is the group's leader, this process too
    os._exit(EXIT_ORPHANED)


@contextmanager
def killed_with_the_front(life_fd: int) -> Iterator[None]:
    """The kernel kills this process's group when the front closes the life pipe (Linux); no thread does."""
    flags = fcntl.fcntl(life_fd, fcntl.F_GETFL)
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life_fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life_fd, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        if select.select([life_fd], [], [], 0)[0]:  # before it was asked for
            end_with_the_front(life_fd)
        yield
    finally:
        fcntl.fcntl(life_fd, fcntl.F_SETFL, flags)
