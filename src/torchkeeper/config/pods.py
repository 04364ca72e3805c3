"""What platforms that run the server in pods of theirs have in common: ports that they call, tokens. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from torchkeeper.config.table import Configured
from torchkeeper.config.types import Address

ANYWHERE = "0.0.0.0"
#: The first port for what makes room; management's in TorchServe's samples for KServe.
ASIDE = 8085
#: Whoever configures one of these speaks of tokens.
_OF_TOKENS = {
    "disable_token_authorization",
    "inference_key",
    "inference_key_file",
    "management_key",
    "management_key_file",
    "strict",
    "strict_http_auth",
    "token_expiration_min",
    "token_protect_ping",
}


def to_open(port: int, wanted: str, values: Configured, caller: str, warnings: list[str]) -> Address | None:
    """The address to open on that port; None if something has it.

    `wanted` is the setting that serves the caller as well as ours would.
    """
    holders = [(name, host) for name, host, other in listening(values) if port and other == port]
    if not holders:
        return Address("http", ANYWHERE, port)
    name, host = holders[0]
    if name != wanted:
        warnings.append(
            f"{name} has port {port}, which {caller} calls for something else: choose another port"
        )
    elif is_loopback(host):
        warnings.append(
            f"{name} keeps port {port}, which {caller} calls, to this machine ({host}): "
            f"leave the key out or listen on {ANYWHERE}"
        )
    return None


def make_room(
    values: Configured, configured: Collection[str], called: Collection[int]
) -> tuple[Configured, tuple[str, ...]]:
    """With what nobody configured off the ports that a platform calls, and the names of what moved.

    It goes to the first ports from 8085 that nothing else has. Inference, which platforms call, stays.
    """
    moved = []
    for name, host, port in listening(values):
        if name == "inference_address" or name in configured or port not in called:
            continue
        taken = {*called, *(other for _, _, other in listening(values))}
        free = next(port for port in range(ASIDE, 1 << 16) if port not in taken)
        place: dict[str, Any] = {name: free if name.endswith("_port") else Address("http", host, free)}
        values = replace(values, **place)
        moved.append(name)
    return values, tuple(moved)


def listening(values: Configured) -> list[tuple[str, str, int]]:
    """Setting, host and port of everything that listens on a port anyway."""
    addresses = {
        "inference_address": values.inference_address,
        "management_address": values.management_address,
    }
    if values.enable_metrics_api:
        addresses["metrics_address"] = values.metrics_address
    return [
        *((name, address.host, address.port) for name, address in addresses.items() if not address.path),
        ("grpc_inference_port", values.grpc_inference_address, values.grpc_inference_port),
        ("grpc_management_port", values.grpc_management_address, values.grpc_management_port),
    ]


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches an address on that host."""
    return host is None or host in ("localhost", "::1") or host.startswith("127.")


def open_doors(values: Configured) -> list[str]:
    """What others than this machine reach, but for metrics, which need no token anyway."""
    return [
        f"{name} {host}:{port}"
        for name, host, port in listening(values)
        if name != "metrics_address" and not is_loopback(host)
    ]


def says_nothing_of_tokens(values: Configured, configured: Collection[str]) -> bool:
    """Whether tokens are on only because nobody said anything of them."""
    return _OF_TOKENS.isdisjoint(configured) and not values.disable_token_authorization


def exposure(
    values: Configured, opened: Iterable[Address | None], caller: str, *, predictions_only: bool = False
) -> str | None:
    """A warning if others than this machine are served without tokens, all of them or predictions only.

    `opened` is what is opened for the caller beside the configured addresses.
    """
    if not values.disable_token_authorization and not predictions_only:
        return None
    doors = open_doors(values)
    doors += [f"{caller}'s port {address.host}:{address.port}" for address in opened if address]
    if not doors:
        return None
    reach = f"EVERYBODY WHO REACHES {', '.join(doors)} IS SERVED"
    mind = "let a network policy or a mesh decide who does"
    if predictions_only:
        return (
            f"PREDICTIONS NEED NO TOKEN UNDER {caller.upper()}, SO {reach}: {mind}. Models are managed with "
            "the management key only; disable_token_authorization=false asks for a key everywhere"
        )
    return f"WITHOUT TOKENS {reach}: {mind}"
