"""The bounds of a connection, and the errors of passing them. Pure.

Source: RFC 9110 (408), RFC 6585 (431); the numbers are those of common servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torchkeeper.errors import TorchkeeperError


class HeaderFieldsTooLarge(TorchkeeperError):
    """More header bytes or fields than allowed: 431 (RFC 6585)."""

    status = 431
    type = "BadRequestException"


class RequestTimeout(TorchkeeperError):
    """The client was too slow in sending its request: 408."""

    status = 408
    type = "RequestTimeoutException"


@dataclass(frozen=True)
class EdgeLimits:
    """Bounds of a connection: bytes, counts, seconds."""

    max_body: int
    max_header_bytes: int = 16384
    max_header_fields: int = 128
    #: Chunks that a body may come in, and bytes around each of them.
    max_chunks: int = 65536
    chunk_overhead: int = 32
    header_timeout: float = 30.0
    body_timeout: float = 60.0
    idle_timeout: float = 75.0
    #: A refused upload is read on and thrown away up to these bounds, so that its sender reads the answer.
    drain_bytes: int = 64 * 1024 * 1024
    drain_seconds: float = 5.0
    #: Seconds in which a client must take what fills its socket.
    write_timeout: float = 60.0
    #: Unread body bytes, or requests behind the one being answered, beyond which the socket is not read.
    read_ahead: int = 1024 * 1024
    max_pipelined: int = 16
    #: An idle connection is kept this long when the server stops: a request may be on its way.
    last_call: float = 0.5
