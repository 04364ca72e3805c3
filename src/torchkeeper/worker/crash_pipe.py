"""Where a worker's code is when a signal ends it or asks: written into a pipe that the front reads."""

from __future__ import annotations

import faulthandler
import os

from torchkeeper.machine.signals import WHERE


def tell_of_crashes(fd: int) -> None:
    """Writes where the code is when a signal ends it or asks: what fits into the pipe, and nobody waits.

    What a process that a handler forks has to say is not about the worker.
    """
    aim(fd)
    os.register_at_fork(after_in_child=_tell_in_the_log)


def aim(fd: int) -> None:
    """Writes there from now on, in this process."""
    os.set_blocking(fd, False)
    faulthandler.enable(fd)
    faulthandler.register(WHERE, fd, all_threads=True)


def stay_silent() -> None:
    """Writes nothing any more."""
    faulthandler.disable()
    faulthandler.unregister(WHERE)


def _tell_in_the_log() -> None:
    if faulthandler.is_enabled():
        faulthandler.enable(2)
