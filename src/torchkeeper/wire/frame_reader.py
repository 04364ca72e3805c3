"""Cuts a stream of bytes into frames (`wire.frames`); what is large is gathered once, not copied."""

from __future__ import annotations

import io

from torchkeeper.wire.frames import LARGE, LENGTHS, MAX_HEADER, Message, WireError, decode_header


class FrameReader:
    """Cuts a stream of bytes into (message, raw payload) pairs.

    Args:
        max_header: bytes that a header may have.
    """

    def __init__(self, max_header: int = MAX_HEADER) -> None:
        self._max_header = max_header
        #: What came of a frame that is not whole, and the bytes without which nothing can be done with it.
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = 0
        #: The frame whose large payload is on its way, what came of that, and the bytes that are missing.
        self._message: Message | None = None
        self._payload = io.BytesIO()
        self._missing = 0

    def feed(self, data: bytes) -> list[tuple[Message, bytes]]:
        """All frames that are complete once `data` has arrived.

        Raises:
            WireError: the bytes are no frame; the channel cannot be used any further.
        """
        if not self._pieces and self._message is None and len(data) >= LENGTHS.size:
            header_size, raw_size = LENGTHS.unpack_from(data)
            payload = LENGTHS.size + header_size
            if payload + raw_size == len(data) and header_size <= self._max_header:  # as it is nearly always
                return [(decode_header(data[LENGTHS.size : payload]), data[payload:])]
        frames: list[tuple[Message, bytes]] = []
        if self._message is not None:
            self._payload.write(data[: self._missing])
            data, self._missing = data[self._missing :], max(self._missing - len(data), 0)
            if self._missing:
                return frames
            frames.append((self._message, self._payload.getvalue()))  # its own bytes, not a copy
            self._message, self._payload = None, io.BytesIO()
            if not data:
                return frames
        self._held += len(data)
        if self._pieces or self._held < self._needed:
            self._pieces.append(data)
            if self._held < self._needed:
                return frames
            data = b"".join(self._pieces)
            self._pieces.clear()
        rest = data[self._cut(data, frames) :]
        self._held = len(rest)
        if rest:
            self._pieces.append(rest)
        return frames

    def _cut(self, data: bytes, frames: list[tuple[Message, bytes]]) -> int:
        """Appends all frames that are whole, and begins a large one; returns where the rest begins."""
        start = 0
        self._needed = LENGTHS.size
        while len(data) - start >= LENGTHS.size:
            header_size, raw_size = LENGTHS.unpack_from(data, start)
            if header_size > self._max_header:
                raise WireError(f"a frame's header claims {header_size} bytes")
            body = start + LENGTHS.size
            payload = body + header_size
            end = payload + raw_size
            if len(data) < (payload if raw_size >= LARGE else end):
                self._needed = (payload if raw_size >= LARGE else end) - start
                break
            message = decode_header(data[body:payload])
            if len(data) < end:
                self._message, self._missing = message, end - len(data)
                self._payload.write(data[payload:])
                return len(data)
            frames.append((message, data[payload:end]))
            start = end
        return start
