"""A listening socket and the connections that came from it: bound early, started later, drained at the end.

Knows nothing of what the application means. Whoever cannot be bound to is told by whom the port is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from torchkeeper.config.types import Address
from torchkeeper.errors import SettingsError
from torchkeeper.http.acceptor import Acceptor
from torchkeeper.http.connection import Access, Connection, Shortcut
from torchkeeper.http.exchange import Unasked
from torchkeeper.http.guests import Guests
from torchkeeper.http.limits import EdgeLimits
from torchkeeper.http.tls_acceptor import Factory, TlsAcceptor, https_only

logger = logging.getLogger(__name__)

_BACKLOG = 2048
#: Seconds in which answers to what was cancelled are sent.
_OWED = 1.0


class Listener:
    """One address, one ASGI application. An https address needs a context, others leave it alone."""

    def __init__(self, name: str, address: Address, context: ssl.SSLContext | None = None) -> None:
        self._name = name
        self._context = context
        self.address = address
        self._socket: socket.socket | None = None
        #: Device and inode of the file that was made for a unix socket.
        self._made: tuple[int, int] | None = None
        #: One of the two accepts.
        self._plain: Acceptor | None = None
        self._secure: TlsAcceptor | None = None
        self._guests: Guests | None = None

    def bind(self) -> None:
        """Takes the address.

        Raises:
            SettingsError: it is taken, or is not this machine's; the text says by whom, if that can be seen.
        """
        address = self.address
        try:
            self._socket = (
                _bind_unix(Path(address.path)) if address.path else _bind_tcp(address.host, address.port)
            )
            self._made = _identity(address.path) if address.path else None
        except OSError as error:
            holder = (
                port_holder(address.port) if error.errno == errno.EADDRINUSE and not address.path else None
            )
            raise SettingsError(
                f"{self._name}={address}: cannot listen there: {error.strerror}{advice(holder, 'address')}"
            ) from None

    @property
    def port(self) -> int:
        """The port that was bound (a configured port 0 means: any free one); 0 for a unix socket."""
        if self._socket is None or self.address.path:
            return 0
        port: int = self._socket.getsockname()[1]
        return port

    async def start(
        self,
        app: Any,
        limits: EdgeLimits,
        unasked: Unasked,
        access: Access | None = None,
        shortcut: Shortcut | None = None,
    ) -> None:
        """Begins to accept connections for an ASGI application; the other arguments are `Connection`'s."""
        if self._socket is None:
            raise RuntimeError("bind() comes before start()")
        self._guests = guests = Guests(limits)

        def connect(app: Any = app) -> Connection:
            return Connection(app, limits, guests, unasked, access, shortcut)

        if self.address.scheme == "https":
            if self._context is None:
                raise RuntimeError("an https address needs a context")
            plain = functools.partial(connect, https_only)
            self._secure = TlsAcceptor(self._socket, self._context, connect, plain, most=guests.most)
            self._secure.start()
        else:
            self._plain = Acceptor(self._socket, functools.partial(_admit, connect))
            self._plain.start()

    async def stop(self, deadline: float) -> None:
        """Stops accepting, lets running requests finish within `deadline` seconds, then cancels them.

        Requests that are on their way over open connections are running, too: their senders cannot know yet.
        """
        if self._secure is not None:
            await self._secure.stop()
        if self._plain is not None:
            # Their clients have connected and may have sent their requests: a closed socket would reset them.
            await self._plain.stop(waiting=True)
        if self._socket is not None:
            self._socket.close()
        connections = self._guests.connections if self._guests else ()
        last_call = max((connection.shutdown() for connection in connections), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.sleep(last_call)
                while running := self._running():
                    await asyncio.wait(running)
        running = self._running()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if owed := self._running():  # what is answered to a cancelled ticket is a task of its own
            await asyncio.wait(owed, timeout=_OWED)
        if self._made is not None:
            with contextlib.suppress(OSError):  # by now it may be another server's
                if _identity(self.address.path) == self._made:
                    Path(self.address.path).unlink()

    def _running(self) -> set[asyncio.Future[Any]]:
        tasks = (connection.task for connection in (self._guests.connections if self._guests else ()))
        return {task for task in tasks if task is not None and not task.done()}


async def _admit(connect: Factory, connection: socket.socket) -> None:
    """Makes an accepted connection one of a protocol."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(connect, connection)
    except OSError as error:  # the client has left already
        logger.debug("a connection did not come to its protocol: %s", error)
        connection.close()


def _identity(path: str) -> tuple[int, int]:
    found = Path(path).lstat()
    return found.st_dev, found.st_ino


def _bind_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _listening(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    return sock


def _bind_unix(path: Path) -> socket.socket:
    with _listening(socket.AF_UNIX) as sock:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, "Address already in use")
            path.unlink()  # nobody answers: left behind by a server that was killed
        sock.bind(str(path))
    return sock


@contextlib.contextmanager
def _listening(family: int) -> Iterator[socket.socket]:
    """A socket that listens once it has been bound; closed if it cannot be."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        yield sock
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise


#: Who holds a port that the configuration names twice.
OURSELVES = "another address of this configuration"


def advice(holder: str | None, what: str) -> str:
    """The end of a sentence about an address or port that cannot be had."""
    by = f", held by {holder}" if holder else ""
    stop = "" if holder == OURSELVES else "stop it or "
    return f"{by}; {stop}choose another {what}"


def port_holder(port: int) -> str | None:
    """Name and process id of whoever listens on a TCP port, if this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                if connection.pid == os.getpid():
                    return OURSELVES
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return None
    return None
