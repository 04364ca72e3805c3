"""Who is connected to a listener, and the bytes of bodies that are on their way: their bounds over all.

One client can hold only so many connections, and all together only so many bytes of requests that are not
whole. Sockets are others' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
from collections import Counter
from typing import Any, Protocol

from torchkeeper.errors import ServiceUnavailable, TorchkeeperError
from torchkeeper.http.limits import EdgeLimits

#: Descriptors that are left for all but a listener's connections.
_KEPT = 128
_LEAST = 64
#: So many times the bound are answered that they are too many; what comes beyond that is not.
_PATIENCE = 2


class Sender(Protocol):
    """Who sends the body of a request."""

    def give_up(self, error: TorchkeeperError) -> None:
        """Refuses the request whose body is on its way."""


class Guest(Sender, Protocol):
    """A connection."""

    @property
    def task(self) -> asyncio.Future[Any] | None:
        """What its next answer waits for, if it owes one."""

    def shutdown(self) -> float:
        """The server stops; returns the seconds that it waits for a request."""


class Guests:
    """The connections of one listener, as far as they have bounds in common."""

    def __init__(self, limits: EdgeLimits) -> None:
        self._limits = limits
        #: Those that are open or still have an application at work; each enters and leaves it itself.
        self.connections: set[Guest] = set()
        self._all = 0
        self.most = limits.max_connections or most_connections()
        self._of: Counter[str] = Counter()
        #: Bytes of a body by who sends it; the one that has been on its way for the longest comes first.
        self._unfinished: dict[Sender, int] = {}
        self.bytes = 0

    def enter(self, host: str | None) -> TorchkeeperError | None:
        """Another connection; what it is refused with, None: it is welcome.

        Args:
            host: the client's address; None is a unix socket.

        Raises:
            ServiceUnavailable: there are so many that this one is not even answered.
        """
        self._all += 1
        most = self._limits.max_per_client
        counted = host if host is not None and most and not self._spared(host) else None
        if counted is not None:
            self._of[counted] += 1
        error = _over(self._all, self.most, "")
        if error is None and counted is not None:
            error = _over(self._of[counted], most, " from this address")
        return error

    def leave(self, host: str | None) -> None:
        """The connection is gone."""
        self._all -= 1
        if host is not None and host in self._of:
            self._of[host] -= 1
            if not self._of[host]:
                del self._of[host]

    def _spared(self, host: str) -> bool:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(host.partition("%")[0])
            address = getattr(address, "ipv4_mapped", None) or address
            return address.is_loopback or any(address in network for network in self._limits.trusted)
        return False

    def hold(self, sender: Sender, size: int) -> None:
        """So many bytes have come of the body that is on its way; who is to blame for too many is refused."""
        self.bytes += size - self._unfinished.get(sender, 0)
        self._unfinished[sender] = size
        while self.bytes > self._limits.max_unfinished:
            oldest = next(iter(self._unfinished))
            self.release(oldest)
            oldest.give_up(ServiceUnavailable("Too many bytes of requests are on their way."))

    def release(self, sender: Sender) -> None:
        """The body is whole, or will never be."""
        self.bytes -= self._unfinished.pop(sender, 0)


def _over(count: int, most: int, whose: str) -> TorchkeeperError | None:
    if count <= most:
        return None
    error = ServiceUnavailable(f"More than {most} connections{whose} are open.")
    if count > _PATIENCE * most:
        raise error
    return error


def most_connections() -> int:
    """How many there can be by the number of files that may be open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - _KEPT, _LEAST) if soft != resource.RLIM_INFINITY else 1 << 20
