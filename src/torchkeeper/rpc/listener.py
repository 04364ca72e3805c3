"""A port that speaks gRPC: taken early, served later, drained at the end.

grpc's core opens its sockets itself. So that a port that is taken is told before anything starts, and port 0
is known early, the address is first bound by a socket that never listens; Linux then lets grpc listen beside
it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from torchkeeper.errors import SettingsError
from torchkeeper.http.listener import advice, port_holder

#: Calls that may wait until the event loop sees them. Beyond 1,000 grpc itself ends new ones at random, by a
#: bare CANCELLED and on other connections too: one client that takes back thousands would do so to all.
_UNSEEN = 1 << 15


@dataclass(frozen=True)
class Options:
    """Bounds of a listener: bytes of a request, and milliseconds that connections live (None: forever)."""

    max_request: int
    max_age: int | None = None
    #: Milliseconds that calls may go on after that.
    grace: int | None = None

    def channel(self) -> list[tuple[str, int]]:
        """In grpc's words. Answers are bounded where they are made."""
        found = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.max_request),
            ("grpc.max_send_message_length", -1),
            ("grpc.server.max_pending_requests", _UNSEEN),
            ("grpc.server.max_pending_requests_hard_limit", _UNSEEN),
        ]
        if self.max_age is not None:
            found.append(("grpc.max_connection_age_ms", self.max_age))
        if self.grace is not None:
            found.append(("grpc.max_connection_age_grace_ms", self.grace))
        return found


class RpcListener:
    """One host and port. `name` is the setting that says so, for errors."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._name = name
        self.host = host
        self.port = port
        self._holder: socket.socket | None = None
        self._server: Any = None

    def bind(self) -> None:
        """Takes the port; `port` is the real one from now on.

        Raises:
            SettingsError: it is taken, or the host is not this machine's; the text says by whom, if that can
                be seen.
        """
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._holder = socket.socket(family, kind, protocol)
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind(place)
        except socket.gaierror as error:
            raise SettingsError(
                f"{self._name.replace('_port', '_address')}={self.host}: no such host: {error.strerror}"
            ) from None
        except OSError as error:
            self.release()
            raise self._taken(error) from None
        self.port = self._holder.getsockname()[1]

    def release(self) -> None:
        """Lets the port go, if `bind` took it."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def _taken(self, error: OSError) -> SettingsError:
        holder = port_holder(self.port) if error.errno == errno.EADDRINUSE else None
        return SettingsError(
            f"{self._name}={self.port} (host {self.host}): cannot listen there: {error.strerror}"
            f"{advice(holder, 'port')}"
        )

    async def start(
        self,
        services: Mapping[str, dict[str, Any]],
        options: Options,
        credentials: grpc.ServerCredentials | None,
        extend: Any,
    ) -> None:
        """Begins to accept calls. `extend` adds what comes as a servicer of its own.

        Raises:
            SettingsError: somebody else was faster.
        """
        server = grpc.aio.server(options=options.channel())
        for service, handlers in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        extend(server)
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{host}:{self.port}"
        try:
            if credentials is None:
                server.add_insecure_port(place)
            else:
                server.add_secure_port(place, credentials)
        except RuntimeError:
            raise self._taken(OSError(errno.EADDRINUSE, "Address already in use")) from None
        finally:
            self.release()
        await server.start()
        self._server = server

    async def stop(self, deadline: float) -> None:
        """Accepts no more calls, lets running ones finish within `deadline` seconds, then cancels them."""
        if self._server is not None:
            await self._server.stop(deadline)
