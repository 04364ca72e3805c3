"""From where archives may come: which URLs, and which addresses these may lead to. Pure.

By default what TorchServe allows, but for the addresses where clouds tell machines their secrets. With
`strict=true` a download needs an entry of allowed_urls for its host, its sha256, and a public address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from torchkeeper.archive.model_url import ModelUrl
from torchkeeper.config.types import Network, is_cloud
from torchkeeper.errors import DownloadFailed, ModelNotAt

#: Where clouds tell machines who they are and with which keys, and all that is link-local.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            *("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"),
            *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
        ),
    )
)
#: IPv6 networks whose addresses end in an IPv4 one that a gateway takes them to.
_GATEWAYS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
#: Hosts and files that nobody means: a pattern that matches with these, too, names no host and no folder.
_ANY_HOST = ("some-other-host.invalid", "203.0.113.77", "x")
_ANY_FILE = ("/some-other-folder/m.mar", "/m.mar")


@dataclass(frozen=True)
class Reach:
    """What the settings say of where archives may come from."""

    #: allowed_urls.
    allowed: tuple[re.Pattern[str], ...]
    #: allowed_addresses: what may be reached although it is not public.
    addresses: tuple[Network, ...] = ()
    strict: bool = False

    def check(self, asked: ModelUrl) -> None:
        """Returns if an archive may come from there.

        Raises:
            ModelNotAt: it may not.
        """
        self.check_url(asked.bare)
        if self.strict and asked.pin is None:
            why = "strict=true wants #sha256=<64 hex digits> at the end of a download's URL"
            raise ModelNotAt(f"Model not found at: {asked.bare}", cause=why)

    def check_url(self, url: str) -> None:
        """Returns if a URL, or one that a redirect leads to, is allowed.

        Raises:
            ModelNotAt: no pattern of allowed_urls matches it, or, strictly, only those of any host.
        """
        matching = [pattern for pattern in self.allowed if pattern.fullmatch(url)]
        others = tuple(_elsewhere(url)) if self.strict else ()
        if any(not any(map(pattern.fullmatch, others)) for pattern in matching):
            return
        why = "strict=true wants an entry of allowed_urls that names its host, or its folder"
        # TorchServe knows no such URL, and its default of allowed_urls matches none.
        if is_cloud(url):
            raise ModelNotAt(
                f"Model not found at: {url}", cause=why if matching else "allowed_urls does not match it"
            )
        raise ModelNotAt(
            f"Given URL {url} does not match any allowed URL(s)", cause=why if matching else None
        )

    def check_address(self, url: str, address: str) -> None:
        """Returns if what a URL's host has as an address may be reached.

        Raises:
            DownloadFailed: it may not.
        """
        found = tuple(_meant(address))
        if any(each in network for each in found for network in self.addresses):
            return
        if any(each in network for each in found for network in _METADATA):
            what = "where clouds tell machines their secrets"
        elif self.strict and any(not each.is_global or each.is_multicast for each in found):
            what = "which is not public"
        else:
            return
        raise DownloadFailed(url, f"its host has the address {address}, {what}; see allowed_addresses")


def _elsewhere(url: str) -> Iterator[str]:
    """The same URL with hosts, or of a file: with folders, that nobody means."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        yield url
        return
    if parts.netloc:
        yield from (parts._replace(netloc=host + port).geturl() for host in _ANY_HOST)
    else:
        yield from (f"{parts.scheme}://{path}" for path in _ANY_FILE)


def _meant(address: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """An address, and those that it stands for."""
    found = ipaddress.ip_address(address.partition("%")[0])
    yield found
    if isinstance(found, ipaddress.IPv6Address):
        if any(found in network for network in _GATEWAYS):
            yield ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        inside = (found.ipv4_mapped, found.sixtofour, *(found.teredo or ()))
        yield from (each for each in inside if each is not None)
