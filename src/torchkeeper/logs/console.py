"""The server's standard output: written by a thread of its own, because nobody may be reading it.

A pipe that is open and not read blocks whoever writes to it. Here that is only this thread: the log files go
on, the server stops when it is told to, and what did not fit is counted.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading

from torchkeeper.errors import reason_of

#: Pieces of text that may wait, each of them what was gathered at one time.
_MAX_WAITING = 100
#: Seconds that `flush` and `close` wait for a reader.
_PATIENCE = 1.0


class Console:
    """Standard output between `start` and `close`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        #: Lines that could not be written, and why the last ones could not; its reader may have left.
        self.lost = 0
        self.fault = ""

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def write(self, text: str) -> bool:
        """Takes a piece of text, whole lines; False if too many wait already, and this one is left out."""
        if self._queue.qsize() >= _MAX_WAITING:
            return False
        self._queue.put(text)
        return True

    def flush(self) -> None:
        """Returns when everything taken before is written, or nobody reads."""
        done = threading.Event()
        self._queue.put(done)
        done.wait(_PATIENCE)

    def close(self) -> None:
        """Writes the rest, if somebody reads."""
        self._queue.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                with contextlib.suppress(ValueError):  # it is closed
                    _emit(item)
            except OSError as error:
                self.lost += item.count("\n")
                self.fault = reason_of(error)


def _emit(text: str) -> None:
    """Past Python's own buffer, which would be flushed, and block, when the interpreter ends."""
    if sys.stdout is None:  # the process was started without one
        return
    try:
        fd = sys.stdout.fileno()
    except (OSError, ValueError):
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # another process that has this pipe has made it non-blocking
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()
