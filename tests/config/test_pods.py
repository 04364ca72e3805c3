"""What platforms call: which ports are opened, and whether anybody said anything of tokens."""

from __future__ import annotations

import pytest

from torchkeeper.config.pods import (
    ANYWHERE,
    is_loopback,
    listening,
    make_room,
    says_nothing_of_tokens,
    to_open,
)
from torchkeeper.config.table import Configured
from torchkeeper.config.types import Address

HERE = Configured(metrics_address=Address("unix", path="/m"), grpc_inference_port=1, grpc_management_port=0)


def test_what_listens() -> None:
    assert listening(HERE) == [
        ("inference_address", "127.0.0.1", 8080),
        ("management_address", "127.0.0.1", 8081),
        ("grpc_inference_port", "127.0.0.1", 1),
        ("grpc_management_port", "127.0.0.1", 0),
    ]


@pytest.mark.parametrize(
    ("port", "opened", "said"),
    [
        (9000, True, []),
        (0, True, []),
        (8080, False, ["inference_address keeps port 8080, which P calls, to this machine (127.0.0.1)"]),
        (8081, False, ["management_address has port 8081, which P calls for something else"]),
    ],
)
def test_a_port_is_opened_unless_something_has_it(port: int, opened: bool, said: list[str]) -> None:
    warnings: list[str] = []
    found = to_open(port, "inference_address", HERE, "P", warnings)
    assert found == (Address("http", ANYWHERE, port) if opened else None)
    assert [warning.split(": ")[0] for warning in warnings] == said


@pytest.mark.parametrize(
    ("configured", "called", "moved"),
    [
        ((), (8080,), {}),
        ((), (8081,), {"management_address": 8085}),
        ((), (8081, 8085), {"management_address": 8086}),
        ((), (8082, 7070), {"metrics_address": 8085, "grpc_inference_port": 8086}),
        (("metrics_address", "grpc_management_port"), (8082, 7071), {}),
    ],
)
def test_what_nobody_configured_makes_room(
    configured: tuple[str, ...], called: tuple[int, ...], moved: dict[str, int]
) -> None:
    values, names = make_room(Configured(), configured, called)
    assert set(names) == set(moved)
    before = {name: port for name, _, port in listening(Configured())}
    assert {name: port for name, _, port in listening(values)} == before | moved
    assert {host for _, host, _ in listening(values)} == {"127.0.0.1"}


def test_tokens() -> None:
    off = Configured(disable_token_authorization=True)
    assert says_nothing_of_tokens(HERE, ["model_store"])
    assert not says_nothing_of_tokens(HERE, ["inference_key"])
    assert not says_nothing_of_tokens(HERE, ["management_key_file"])
    assert not says_nothing_of_tokens(HERE, ["token_expiration_min"])
    assert not says_nothing_of_tokens(off, ["disable_token_authorization"])


def test_loopback() -> None:
    assert is_loopback("127.1.2.3")
    assert not is_loopback("10.0.0.1")
