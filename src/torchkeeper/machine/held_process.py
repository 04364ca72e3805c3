"""A process that is held by a descriptor (Linux: a pidfd), so that nobody else is hit in its stead.

A process's number is given to another one once it has ended and was waited for, and only its parent knows in
time; its descriptor stays its own. Sources: `pidfd_open(2)`, `proc_pid_stat(5)`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from torchkeeper.machine.process_group import kill_members


class HeldProcess:
    """One process, from when it is known to be there; its number has to do where there is no descriptor."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd: int | None = None
        self._gone = False
        self.hold()

    def hold(self) -> bool:
        """Whether it is held by a descriptor, or gone; else there was none, and this may be tried again."""
        if self._fd is None and not self._gone and sys.platform == "linux":
            try:
                self._fd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                self._gone = True
            except OSError:  # no descriptor is left, or this kernel has none of that kind
                return False
        return self._fd is not None or self._gone

    @property
    def fd(self) -> int | None:
        """Can be read from once it has ended; None: it is not held, or gone."""
        return self._fd

    @property
    def has_ended(self) -> bool:
        """Whether it is proved to have ended."""
        if self._fd is None:
            return self._gone
        waits = select.poll()  # `select.select` takes no descriptors above 1023
        waits.register(self._fd, select.POLLIN)
        return bool(waits.poll(0))

    @property
    def is_there(self) -> bool:
        """Whether its number is its own: it lives, or has ended and was not waited for."""
        if self._fd is None:
            return not self._gone
        try:
            signal.pidfd_send_signal(self._fd, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    @property
    def parent(self) -> int | None:
        """The process that has forked it, or took it over from that (Linux); None: it is gone.

        Raises:
            OSError: it cannot be known: it is not held, or there is no /proc.
        """
        if not self.hold():
            raise OSError(f"process {self.pid} cannot be held")
        try:
            after_name = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2]
        except (FileNotFoundError, ProcessLookupError):
            if self.is_there:
                raise
            return None
        return int(after_name.split()[1]) if self.is_there else None  # else another one's may have been read

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self._fd is not None:
                signal.pidfd_send_signal(self._fd, number)
            elif not self._gone:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it and the descendants in its group at once (SIGKILL), unless it is gone."""
        if self.is_there:
            kill_members(self.pid)
        self.signal(signal.SIGKILL)  # also before it has made its group

    def close(self) -> None:
        """It has ended, and is not held any more."""
        self._gone = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
