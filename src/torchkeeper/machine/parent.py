"""A process that ends with its parent, even where that is killed: the kernel sees to it (Linux).

`python -m torchkeeper.machine.parent PID COMMAND [ARGUMENT]...` becomes that command. Between fork and exec
no Python may run in a process that has threads, so the child itself asks, and keeps that over its exec.
Source: `PR_SET_PDEATHSIG(2const)`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def ends_with_this(command: Sequence[str]) -> list[str]:
    """The command line of a child that becomes `command` and gets SIGTERM when this process ends."""
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), *command]


def end_with(parent: int, number: int) -> bool:
    """Has the kernel send this process a signal when its parent ends (Linux); False: that has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent  # else it has ended before it could be noticed


def main() -> None:
    """Entry of the child."""
    parent, *command = sys.argv[1:]
    if end_with(int(parent), signal.SIGTERM):
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
