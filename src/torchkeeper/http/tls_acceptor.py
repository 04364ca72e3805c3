"""Connections of a TLS port: a look at the first byte, then a handshake, or a readable answer without one.

A TLS connection begins with a handshake record (RFC 8446, section 5.1: its first byte is 22). Plain HTTP is
answered with TorchServe's words instead of a torn connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from torchkeeper.http.acceptor import Acceptor

logger = logging.getLogger(__name__)

_HANDSHAKE = b"\x16"
#: Seconds for the first byte, and again for the handshake.
PATIENCE = 30.0
_REFUSAL = b'{"status":"This TorchServe instance only accepts HTTPS requests"}'

Factory = Callable[[], asyncio.Protocol]


async def https_only(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI application that plain HTTP meets on a TLS port: TorchServe's 403, byte for byte."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_REFUSAL))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})


class TlsAcceptor:
    """Accepts from a bound socket: TLS goes to `secure` protocols, all else to `plain` ones.

    Args:
        most: handshakes at a time; for one more, the one that has taken longest is dropped.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        secure: Factory,
        plain: Factory,
        patience: float = PATIENCE,
        most: int = 1024,
    ) -> None:
        self._context = context
        self._secure = secure
        self._plain = plain
        self._patience = patience
        self._acceptor = Acceptor(sock, self._admit, most)

    def start(self) -> None:
        """Begins to accept."""
        self._acceptor.start()

    async def stop(self) -> None:
        """Accepts no more; who has not finished the handshake is dropped. As `Acceptor.stop` otherwise."""
        await self._acceptor.stop()

    async def _admit(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                first = await _peek(connection)
            if first == _HANDSHAKE:
                await loop.connect_accepted_socket(
                    self._secure, connection, ssl=self._context, ssl_handshake_timeout=self._patience
                )
            elif first:
                await loop.connect_accepted_socket(self._plain, connection)
            else:
                connection.close()
        except OSError as error:  # TimeoutError and SSLError among them: the client's doing
            logger.debug("a connection did not come to TLS: %s", error)
            connection.close()


async def _peek(connection: socket.socket) -> bytes:
    """The first byte, which stays in the socket; nothing if the client has left."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(connection)
