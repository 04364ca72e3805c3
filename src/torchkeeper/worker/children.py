"""The children of a process that forks workers: that they have ended, and how."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from torchkeeper.machine.process_group import kill_members
from torchkeeper.wire.frames import Exited


class Children:
    """Watches the children of this process by a descriptor, from now on."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakes = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    @property
    def fd(self) -> int:
        """Can be read from once a child may have ended."""
        return self._read

    def ended(self) -> Iterator[Exited]:
        """Those that have ended, waited for, and with their descendants."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            kill_members(ended.si_pid)
            pid, status, used = os.wait4(ended.si_pid, 0)
            yield Exited(pid, os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024)

    def forget(self) -> None:
        """What a fork does, whose children are its own business."""
        signal.set_wakeup_fd(self._wakes)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if self._handler is None else self._handler)
        os.close(self._read)
        os.close(self._write)
