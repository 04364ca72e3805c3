"""The token API: which key is renewed, and for whom."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from api.calling import answer, call
from torchkeeper.api.routes import resolve
from torchkeeper.api.token import TokenApi
from torchkeeper.errors import BadRequest, InvalidKey, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.keys.tokens import TokenRules, Tokens
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Reply


class Keys:
    """Tokens over a file that is a list of texts."""

    def __init__(self, given: dict[Key, str] | None = None, fault: OSError | None = None) -> None:
        self.written: list[str] = []
        self._fault = fault
        numbers = itertools.count(1)
        self.tokens = Tokens(
            TokenRules(3600.0),
            given or {},
            clock=lambda: 1_764_000_000.0,
            fresh=lambda: f"key-{next(numbers)}",
            save=self._save,
        )

    def _save(self, text: str) -> None:
        if self._fault is not None:
            raise self._fault
        self.written.append(text)

    def ask(self, target: str) -> Reply:
        request = call("GET", target, apis=Api.MANAGEMENT)
        return asyncio.run(answer(TokenApi(self.tokens).endpoints(), request))


@pytest.mark.parametrize(
    ("target", "renewed"),
    [
        ("/token?type=management", Key.MANAGEMENT),
        ("/token?type=inference", Key.INFERENCE),
        ("/token?type=INFERENCE&x=1", Key.INFERENCE),
        ("/token/?type=management&type=inference", Key.INFERENCE),
    ],
)
def test_a_key_is_renewed_and_written_not_sent(target: str, renewed: Key) -> None:
    keys = Keys()
    assert keys.ask(target) == Reply(b"\n")
    (text,) = keys.written
    held = {kind: about["key"] for kind, about in json.loads(text).items()}
    assert held == {"management": "key-1", "inference": "key-2", "API": "key-3"} | {renewed.value: "key-4"}
    assert keys.tokens.check(renewed, "Bearer key-4", "other") == 0.0


@pytest.mark.parametrize("target", ["/token", "/token?type=", "/token?type=API", "/token?type=%ff"])
def test_only_two_keys_can_be_renewed(target: str) -> None:
    keys = Keys()
    with pytest.raises(InvalidKey) as raised:
        keys.ask(target)
    assert raised.value.cause == "type must be management or inference"
    assert keys.written == []


def test_its_route_asks_for_the_api_key() -> None:
    assert resolve(b"/token", "GET", Api.MANAGEMENT).route.key is Key.API


def test_a_key_that_was_given_stays() -> None:
    keys = Keys({Key.MANAGEMENT: "ours"})
    with pytest.raises(BadRequest, match="TS_MANAGEMENT_KEY"):
        keys.ask("/token?type=management")


def test_a_key_that_cannot_be_written_is_not_renewed() -> None:
    keys = Keys(fault=OSError(28, "No space left on device"))
    with pytest.raises(TorchkeeperError) as raised:
        keys.ask("/token?type=management")
    assert raised.value.cause == "No space left on device"
    assert keys.tokens.check(Key.MANAGEMENT, "Bearer key-1", "other") == 0.0
