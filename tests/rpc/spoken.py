"""gRPC in a test's own event loop: a service on a free port, a client of it, and the books of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from engine.stand_ins import Dispatching, until
from torchkeeper.errors import ModelNotFound, ModelVersionNotFound
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.rpc.calls import Calls
from torchkeeper.rpc.listener import Options, RpcListener
from torchkeeper.rpc.schema import methods
from torchkeeper.serving.books import Books
from torchkeeper.wire.frames import encode_replies
from torchkeeper.wire.messages import Input, Reply

#: Services by name, each its handlers by method name.
Services = dict[str, dict[str, Any]]
OPTIONS = Options(max_request=1_000_000)


class OneModel:
    """A registry with one model, `m`, which has one version and one worker; what that does, the test does."""

    def __init__(self, **settings: Any) -> None:
        self.dispatching = Dispatching(**settings)

    def find(self, name: str, version: str | None = None) -> Any:
        if name != "m":
            raise ModelNotFound(name)
        if version not in (None, "1.0"):
            raise ModelVersionNotFound(name, version)
        return SimpleNamespace(dispatcher=self.dispatching.dispatcher)

    async def asked(self, count: int = 1) -> Input:
        """The request of the worker's batch of this number, once it has come."""
        channel = self.dispatching.channel()
        await until(lambda: len(channel.batches) >= count)
        return channel.batches[count - 1][1][0]

    def reply(self, reply: Reply) -> None:
        """The worker answers with more than a body."""
        channel = self.dispatching.channel()
        number, _ = channel.batches[channel.answered]
        channel.answered += 1
        self.dispatching.say(encode_replies(number, [reply], (), 0.0))


class Client:
    """Calls by service and method, with this project's messages."""

    def __init__(self, port: int, credentials: grpc.ChannelCredentials | None = None) -> None:
        place = f"127.0.0.1:{port}"
        self.channel = (
            grpc.aio.insecure_channel(place)
            if credentials is None
            else grpc.aio.secure_channel(place, credentials)
        )

    def begin(self, service: str, name: str, requests: Any = None, /, **fields: Any) -> Any:
        """A call with a request of these fields, or an iterator of requests.

        `timeout`: with a deadline; `metadata`: with these.
        """
        beside = {name: fields.pop(name, None) for name in ("timeout", "metadata")}
        (method,) = (found for found in methods(service) if found.name == name)
        make = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[method.streams_in, method.streams_out]
        call: Any = make(f"/{method.path}", method.request.SerializeToString, method.reply.FromString)
        return call(method.request(**fields) if requests is None else requests, **beside)

    async def refusal(self, service: str, name: str, /, **fields: Any) -> tuple[str, str]:
        """Code and details of the error that a call ends in."""
        call = self.begin(service, name, **fields)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if hasattr(call, "read") else call)
        return caught.value.code().name, caught.value.details() or ""


@asynccontextmanager
async def served(
    services: Callable[[Calls], Services], ledger: Ledger | None = None
) -> AsyncIterator[Client]:
    """A client of these services; at the end every call that was accepted has its entry."""
    books = Books(ledger or Ledger())
    listener = RpcListener("grpc_inference_port", "127.0.0.1", 0)
    listener.bind()
    await listener.start(services(Calls(books)), OPTIONS, None, lambda server: None)
    client = Client(listener.port)
    try:
        yield client
    finally:
        await client.channel.close()
        await listener.stop(1.0)
    assert books.ledger.in_flight == 0


def run(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene; one that hangs fails."""

    async def main() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(main())
