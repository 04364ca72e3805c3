"""Who a peer is."""

from __future__ import annotations

import pytest

from torchkeeper.rpc.calls import client_of


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1:50000"),
        ("ipv6:%5B::1%5D:50000", "[::1]:50000"),
        ("ipv6:[::1]:50000", "[::1]:50000"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_the_client_as_access_logs_name_it(peer: str, client: str) -> None:
    assert client_of(peer) == client
