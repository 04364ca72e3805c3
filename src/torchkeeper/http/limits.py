"""The bounds of a connection, and the errors of passing them. Pure.

Source: RFC 9110 (408), RFC 6585 (431); the numbers are those of common servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torchkeeper.config.settings import Settings
from torchkeeper.config.types import Network
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
    """Bounds of a connection and of a listener: bytes, counts, seconds."""

    max_body: int
    max_header_bytes: int = 16384
    max_header_fields: int = 128
    #: Chunks that a body may come in, and bytes around each of them.
    max_chunks: int = 65536
    chunk_overhead: int = 32
    #: From the connection to the first byte of the first request.
    first_timeout: float = 30.0
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    #: Bytes a second that a body must bring, and the seconds in which it need not; rate 0: it never must.
    min_rate: int = 1024
    rate_grace: float = 30.0
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
    #: Connections of a listener, 0: as many as there can be; those of one address, 0: any number.
    max_connections: int = 0
    max_per_client: int = 0
    #: Whose connections are not counted by address.
    trusted: tuple[Network, ...] = ()
    #: Bytes of bodies on their way, over all connections of a listener.
    max_unfinished: int = 512 * 1024 * 1024


def edge_limits(settings: Settings) -> EdgeLimits:
    """The bounds that are configured."""
    return EdgeLimits(
        max_body=settings.max_request_size,
        max_header_bytes=settings.max_header_size,
        max_header_fields=settings.max_header_fields,
        max_chunks=settings.max_request_chunks,
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        min_rate=settings.min_body_rate,
        idle_timeout=settings.keep_alive_timeout,
        max_connections=settings.max_connections,
        max_per_client=settings.max_connections_per_client,
        trusted=settings.trusted_proxies,
        # A body that may come must have room.
        max_unfinished=max(settings.max_unfinished_bytes, settings.max_request_size),
    )
