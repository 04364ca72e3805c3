"""Asking a model, without a server: the version, the answer, and who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.weighing import Weigher
from torchkeeper.errors import ModelNotFound, PredictionFailed, QueueFull
from torchkeeper.serving.ask import Ask, ClientGone
from torchkeeper.serving.traffic import Traffic
from torchkeeper.wire.messages import Input, Kind, Reply

REQUEST = Input("1", Kind.PREDICT, (), {})
REPLY = Reply(b"7", 200, "", {}, None)


class Queue:
    """A dispatcher that takes one request and hands its ticket to the test."""

    def __init__(self) -> None:
        self.ticket: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.taken: list[tuple[Input, bool, bool, float | None]] = []
        self.left: list[asyncio.Future[Any]] = []
        #: What its model's requests cost; the first version's are all alike.
        self.weigher: Weigher | None = None

    def submit(
        self,
        request: Input,
        *,
        explicit_version: bool,
        in_parts: bool = False,
        patience: float | None = None,
    ) -> asyncio.Future[Any]:
        self.taken.append((request, explicit_version, in_parts, patience))
        return self.ticket

    def cancel(self, ticket: asyncio.Future[Any]) -> None:
        ticket.cancel()
        self.left.append(ticket)


class Registry:
    """One model, `m`, with the versions 1 (the default) and 2."""

    def __init__(self) -> None:
        self.queues = {"1": Queue(), "2": Queue()}
        self.queues["2"].weigher = Weigher(ModelSettings(batch_cost="X-Tokens", max_batch_cost=9.0), None)

    def find(self, name: str, version: str | None) -> Any:
        if name != "m":
            raise ModelNotFound(name)
        return SimpleNamespace(dispatcher=self.queues[version or "1"])


def run(scene: Callable[[Ask, Registry], Awaitable[None]]) -> None:
    async def main() -> None:
        registry = Registry()
        await scene(Ask(Traffic(registry)), registry)  # type: ignore[arg-type]  # what Ask uses of the registry

    asyncio.run(main())


@pytest.mark.parametrize(("version", "named"), [(None, False), ("2", True)])
@pytest.mark.parametrize("in_parts", [False, True])
def test_the_version_asked_for_gets_the_request(version: str | None, named: bool, in_parts: bool) -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        queue = registry.queues[version or "1"]
        queue.ticket.set_result(REPLY)
        asked = (ask.in_parts if in_parts else ask.whole)("m", version, REQUEST, 1.5)
        assert await asked.answer() is REPLY
        assert queue.taken == [(REQUEST, named, in_parts, 1.5)]

    run(scene)


def test_an_unknown_model_and_a_full_queue_are_said_at_once() -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        with pytest.raises(ModelNotFound):
            ask.whole("other", None, REQUEST)

        def full(*_: object, **__: object) -> asyncio.Future[Any]:
            raise QueueFull("full")

        registry.queues["1"].submit = full  # type: ignore[method-assign]
        with pytest.raises(QueueFull):
            ask.whole("m", None, REQUEST)

    run(scene)


def test_an_error_is_the_answer() -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        registry.queues["1"].ticket.set_exception(PredictionFailed("no"))
        with pytest.raises(PredictionFailed):
            await ask.whole("m", None, REQUEST).answer()

    run(scene)


def test_a_client_that_leaves_takes_its_request_back() -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        asked = ask.whole("m", None, REQUEST)
        waiting = asyncio.ensure_future(asked.answer())
        await asyncio.sleep(0)
        asked.leave()
        with pytest.raises(ClientGone):
            await waiting
        assert registry.queues["1"].left == [registry.queues["1"].ticket]

    run(scene)


def test_a_caller_that_is_cancelled_stays_cancelled_and_takes_its_request_back() -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        waiting = asyncio.ensure_future(ask.whole("m", None, REQUEST).answer())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert registry.queues["1"].left == [registry.queues["1"].ticket]

    run(scene)


@pytest.mark.parametrize("way", ["whole", "in_parts"])
def test_metadata_of_the_cost_headers_name_are_a_header_for_models_that_have_one(way: str) -> None:
    async def scene(ask: Ask, registry: Registry) -> None:
        for version in "12":
            getattr(ask, way)("m", version, REQUEST, metadata={"X-Tokens": "3"}.get)
        getattr(ask, way)("m", "2", REQUEST, metadata={"Other": "3"}.get)
        assert [queue.taken[0][0].headers for queue in registry.queues.values()] == [{}, {"X-Tokens": "3"}]
        assert registry.queues["2"].taken[1][0] is REQUEST

    run(scene)
