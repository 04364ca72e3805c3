"""Whether a page of somebody else made a browser write: across sites, or by a name that leads here.

Pure. Only browsers can be made to, and they say so: `Sec-Fetch-Site` and `Origin` tell whose page asks, and
`Host` the name that it asked by. Who sends none of them is no browser. Source: Fetch Metadata, RFC 6454.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from torchkeeper.errors import TorchkeeperError

#: Methods that change something.
UNSAFE = frozenset({"POST", "PUT", "DELETE", "PATCH"})
#: A Host without its port.
_NAME = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_OWN = frozenset({"same-origin", "none"})
_ADVICE = "tokens (the default) or the setting {} let it through"


class CrossSite(TorchkeeperError):
    """A write that another site may have had a browser ask for: 403."""

    status = 403
    type = "ForbiddenException"

    def __init__(self, cause: str, setting: str) -> None:
        advice = _ADVICE.format(setting)
        super().__init__("Request refused: it may come from another site", cause=f"{cause}; {advice}")


class SiteGuard:
    """Who may write on a listener where no token is asked for.

    Args:
        address: where it listens; a unix socket has none.
        hosts: names that may be asked by besides those of loopback; `*` is any.
        origin: the origin whose pages may ask (that of CORS); `*` is any.
    """

    def __init__(self, address: str, hosts: Collection[str] = (), origin: str | None = None) -> None:
        self._hosts = frozenset(host.lower() for host in (*hosts, address) if host)
        # Elsewhere names are anybody's, and a page on the network is no surprise.
        self._by_name = bool(address) and "*" not in self._hosts and is_loopback(address)
        self._origin = origin

    def check(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Looks at the fields of a request that writes; their names are in small letters.

        Raises:
            CrossSite: somebody else's page may have asked for it.
        """
        said = {name: value.decode("latin-1").strip() for name, value in fields}
        host = said.get(b"host", "").lower()
        if self._by_name and host and not self._known(host):
            raise CrossSite(f"this server is not called {host[:100]}", "allowed_hosts")
        origin = said.get(b"origin")
        if self._origin == "*" or (origin is not None and origin == self._origin):
            return
        site = said.get(b"sec-fetch-site")
        foreign = origin is not None and host_of(origin) != host if site is None else site not in _OWN
        if foreign:
            raise CrossSite("a page of another origin asked for it", "cors_allowed_origin")

    def _known(self, host: str) -> bool:
        found = _NAME.fullmatch(host)
        name = found[1].strip("[]") if found else ""
        return host in self._hosts or name in self._hosts or is_loopback(name)


def host_of(origin: str) -> str:
    """Host and port of an origin; empty for one that is opaque."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nothing else."""
    host = host.lower().rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
