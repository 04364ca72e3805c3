"""Connections as they come from a listening socket, by a loop that rests while the system gives none.

libuv's own listeners keep a descriptor for the moment in which none is left. Where another thread is faster
to take that one they turn in circles until a client leaves, with a whole core. So they are not used.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

#: Seconds without accepting after the system refused a connection (out of file descriptors, mostly).
_PAUSE = 0.5
#: Connections that are accepted in one turn of the loop: others want their turn, too.
_AT_ONCE = 64
#: Connections at most that wait to be accepted (Linux's net.core.somaxconn): who comes later would never end.
_MOST_WAITING = 4096


class Acceptor:
    """Accepts from a bound socket, and has each connection admitted.

    Args:
        admit: what makes a connection one of a protocol; it closes what it does not admit, unless cancelled.
        most: connections that are being admitted at a time; for one more, the one that has taken longest is
            dropped.
    """

    def __init__(
        self, sock: socket.socket, admit: Callable[[socket.socket], Awaitable[None]], most: float = math.inf
    ) -> None:
        self._socket = sock
        self._admit = admit
        self._most = most
        self._rest: asyncio.TimerHandle | None = None
        #: In the order in which they came.
        self._admitting: dict[asyncio.Future[None], None] = {}

    def start(self) -> None:
        """Begins to accept."""
        self._rest = None
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    async def stop(self, *, waiting: bool = False) -> None:
        """Accepts no more, and closes the socket; may be called again.

        Args:
            waiting: those that wait to be accepted still are, as far as there are descriptors, and admitted;
                else those that are being admitted are dropped.
        """
        if self._socket.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._rest is not None:
            self._rest.cancel()
        try:
            for _ in range(_MOST_WAITING if waiting else 0):
                if not self._accept():
                    break
        except OSError as error:
            logger.warning("connections that wait to be accepted are closed: %s", error)
        self._socket.close()  # before anything else has its turn: whoever connected now would be reset
        if not waiting:
            for task in self._admitting:
                task.cancel()
        await asyncio.gather(*self._admitting, return_exceptions=True)

    def _on_readable(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                if not self._accept():
                    break
        except OSError as error:
            logger.warning("a connection could not be accepted: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._rest = loop.call_later(_PAUSE, self.start)

    def _accept(self) -> bool:
        """Whether there was one.

        Raises:
            OSError: there may be one, but it could not be had.
        """
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return False
        except ConnectionAbortedError:  # it has left; others may wait behind it
            return True
        connection.setblocking(False)
        if _has_left(connection):
            connection.close()
            return True
        task = asyncio.ensure_future(self._admit(connection))
        self._admitting[task] = None
        task.add_done_callback(functools.partial(self._done, connection))
        if len(self._admitting) > self._most:
            oldest = next(iter(self._admitting))
            del self._admitting[oldest]
            oldest.cancel()
        return True

    def _done(self, connection: socket.socket, task: asyncio.Future[None]) -> None:
        self._admitting.pop(task, None)
        if task.cancelled():  # before it began, perhaps
            connection.close()


def _has_left(connection: socket.socket) -> bool:
    """Whether the client left while it waited, having said nothing: many do after a rest."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
