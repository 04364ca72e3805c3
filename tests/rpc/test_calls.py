"""What calls have in common: who asks, what becomes of a call, and how its error is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from rpc import spoken
from torchkeeper.engine.stream import Closed
from torchkeeper.errors import BadRequest, PredictionFailed, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.rpc.calls import CAUSE, Calls, RpcCall, client_of
from torchkeeper.rpc.schema import HEALTH, message, methods

HealthCheckResponse = message("grpc.health.v1.HealthCheckResponse")
PredictionResponse = message("org.pytorch.serve.grpc.inference.PredictionResponse")
Serve = Callable[[RpcCall, Any], Awaitable[Any]]


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


def serving(serve: Serve) -> Callable[[Calls], spoken.Services]:
    """The health service's methods, all served by one function."""
    return lambda calls: {
        HEALTH: {method.name: calls.handler(method, serve, key=Key.PROBE) for method in methods(HEALTH)}
    }


def raising(error: BaseException) -> Serve:
    async def serve(call: RpcCall, request: Any) -> Any:
        raise error

    return serve


@pytest.mark.parametrize(
    ("error", "heading", "code", "details"),
    [
        (BadRequest("what"), "refused", "INVALID_ARGUMENT", "what"),
        (PredictionFailed("no"), "failed", "INTERNAL", "no"),
        (ValueError("a fault"), "failed", "INTERNAL", "Internal server error"),
        (Closed(), "gone", "CANCELLED", "The answer was read too slowly."),
    ],
)
def test_every_error_is_one_entry_and_one_status(
    error: Exception, heading: str, code: str, details: str
) -> None:
    ledger = Ledger()

    async def scene() -> None:
        async with spoken.served(serving(raising(error)), ledger) as client:
            assert await client.refusal(HEALTH, "Check") == (code, details)

    spoken.run(scene)
    assert (ledger.accepted, getattr(ledger, heading)) == (1, 1)


def test_an_answer_is_one_entry_and_has_a_request_id() -> None:
    ledger, ids = Ledger(), list[str]()

    async def serve(call: RpcCall, request: Any) -> Any:
        ids.append(call.request_id)
        return HealthCheckResponse(status=1)

    async def scene() -> None:
        async with spoken.served(serving(serve), ledger) as client:
            call = client.begin(HEALTH, "Check")
            assert (await call).status == 1
            assert dict(await call.trailing_metadata()) == {"x-request-id": ids[0]}

    spoken.run(scene)
    assert (ledger.accepted, ledger.answered) == (1, 1)


def test_a_cause_goes_behind_the_answer_in_printable_letters() -> None:
    async def scene() -> None:
        error = TorchkeeperError("no", cause="caf\u00e9\nline")
        async with spoken.served(serving(raising(error))) as client:
            call = client.begin(HEALTH, "Check")
            assert await call.code() is grpc.StatusCode.INTERNAL
            assert dict(await call.trailing_metadata())[CAUSE] == "caf\\xe9\\nline"

    spoken.run(scene)


def test_a_client_that_leaves_is_gone() -> None:
    ledger = Ledger()

    async def serve(call: RpcCall, request: Any) -> None:
        while True:
            await call.write(HealthCheckResponse(status=1))

    async def scene() -> None:
        async with spoken.served(serving(serve), ledger) as client:
            for _ in range(3):
                watch = client.begin(HEALTH, "Watch")
                await watch.read()
                watch.cancel()

    spoken.run(scene)
    assert ledger.accepted == ledger.gone == 3


def test_calls_are_drained_when_the_last_one_has_ended() -> None:
    go = asyncio.Event()
    begun = asyncio.Event()

    async def serve(call: RpcCall, request: Any) -> Any:
        begun.set()
        await go.wait()
        return HealthCheckResponse(status=1)

    async def scene() -> None:
        made: list[Calls] = []

        def services(calls: Calls) -> spoken.Services:
            made.append(calls)
            return serving(serve)(calls)

        async with spoken.served(services) as client:
            await made[0].drained()
            call = client.begin(HEALTH, "Check")
            await begun.wait()
            drained = asyncio.ensure_future(made[0].drained())
            await asyncio.sleep(0)
            assert not drained.done()
            go.set()
            assert (await call).status == 1
            await drained

    spoken.run(scene)
