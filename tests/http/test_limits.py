"""The bounds that are configured become a listener's."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.http.limits import EdgeLimits, edge_limits


def limits(folder: Path, text: str = "") -> EdgeLimits:
    (folder / "config.properties").write_text(text)
    settings, warnings = load_settings(CommandLine(), {}, folder)
    assert not warnings
    return edge_limits(settings)


def test_what_is_not_configured_is_as_it_is_here(tmp_path: Path) -> None:
    assert limits(tmp_path) == EdgeLimits(max_body=6553500, max_per_client=4096)


def test_all_of_it_can_be_configured(tmp_path: Path) -> None:
    text = """max_header_size=2000
max_header_fields=3
max_request_chunks=4
header_timeout=0.5
body_timeout=6
min_body_rate=0
keep_alive_timeout=7
max_connections=8
max_connections_per_client=9
trusted_proxies=10.0.0.0/8, ::1
max_unfinished_bytes=10000000000
"""
    assert limits(tmp_path, text) == EdgeLimits(
        max_body=6553500,
        max_header_bytes=2000,
        max_header_fields=3,
        max_chunks=4,
        header_timeout=0.5,
        body_timeout=6.0,
        min_rate=0,
        idle_timeout=7.0,
        max_connections=8,
        max_per_client=9,
        trusted=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")),
        max_unfinished=10_000_000_000,
    )


def test_one_body_always_has_room(tmp_path: Path) -> None:
    found = limits(tmp_path, "max_request_size=2000000000\n")
    assert found.max_unfinished == found.max_body == 2_000_000_000
