"""A worker's descendants: they are in its process group, and go with it.

A worker leads a session and a group of its own, so that what a handler starts (multiprocessing, a DataLoader,
subprocess) can be ended by one call, and a Ctrl-C in the server's terminal reaches none of them.
"""

from __future__ import annotations

import os
import signal


def kill_members(group: int) -> bool:
    """Ends a group's members at once (SIGKILL); False when there are none, zombies included.

    A number is not given to a new process or group while the group has members, and its dead leader is one
    until it is waited for: call this before, if you can.
    """
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, or on macOS a zombie
        return False
    return True
