"""The worker's end of its channel: frames in and out, one reader. Knows no models."""

from __future__ import annotations

import os
import select
import socket
from collections import deque

from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import ANY_HEADER, Cancel, Message

#: Exit code of a process which a handler forked, and which came back from it.
EXIT_FORKED = 5

_CHUNK = 1 << 18


class Channel:
    """The worker's end of the socket pair: blocking, one reader, frames in and out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: False in processes that a handler forked.
        self.ours = True
        os.register_at_fork(after_in_child=self._disown)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._reader = FrameReader(ANY_HEADER)
        self._waiting: deque[tuple[Message, bytes]] = deque()

    def send(self, frame: bytes) -> None:
        """Writes one whole frame; a process that a handler forked has nothing to say, and ends."""
        if not self.ours:
            os._exit(EXIT_FORKED)
        self._sock.sendall(frame)

    def close(self) -> None:
        """Lets go of it; whoever else holds it goes on."""
        self._sock.close()

    def _disown(self) -> None:
        self.ours = False

    def receive(self) -> tuple[Message, bytes] | None:
        """The next frame; None when the front has closed the channel."""
        while not self._waiting:
            data = self._sock.recv(_CHUNK)
            if not data:
                return None
            self._waiting.extend(self._reader.feed(data))
        return self._waiting.popleft()

    def cancelled(self, batch_id: int) -> set[int]:
        """Indexes of requests of this batch whose clients left, among the frames that already wait."""
        while self._poll.poll(0):
            data = self._sock.recv(_CHUNK)
            if not data:
                break
            self._waiting.extend(self._reader.feed(data))
        indexes: set[int] = set()
        for message, _ in self._waiting:
            if isinstance(message, Cancel) and message.batch_id == batch_id:
                indexes.update(message.indexes)
        return indexes
