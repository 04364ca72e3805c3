"""Runs a function in a child process of the test, for what it gives up does not come back."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[], Any]) -> Any:
    """What the function returns in a fork of this process, which ends with it.

    Raises:
        AssertionError: it raised something.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            found: tuple[bool, Any] = (True, work())
        except BaseException:  # noqa: BLE001 - the parent's test fails with it
            found = (False, traceback.format_exc())
        os.write(write, pickle.dumps(found))
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    done, result = pickle.loads(data)
    assert done, result
    return result


def outcome(work: Callable[[], Any]) -> str | None:
    """The name of the error that something raises; None if it does not."""
    try:
        work()
    except OSError as error:
        return type(error).__name__
    return None
