"""What goes wrong on the clients' side, on purpose: they dribble, leave, talk nonsense, or networks do.

Each makes sure that it happened; what their requests came to is counted in the target's tally.
"""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from faults import Fault, Target  # type: ignore[import-not-found]
from toxics import SLOW, TORN, Proxy, Toxic, reset_now  # type: ignore[import-not-found]

from torchkeeper.rpc.schema import INFERENCE, methods

#: TorchServe's way to predict over gRPC.
(PREDICTIONS,) = (method for method in methods(INFERENCE) if method.name == "Predictions")


def caller(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable:
    """What calls that method over a channel."""
    return channel.unary_unary(
        f"/{PREDICTIONS.path}", PREDICTIONS.request.SerializeToString, PREDICTIONS.reply.FromString
    )


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of its own."""
    return await asyncio.open_connection("127.0.0.1", port)


def request(target: Target, body: bytes, headers: bytes = b"") -> bytes:
    """A prediction's bytes."""
    head = b"POST /predictions/%b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
    return head % (target.model.encode(), headers, len(body)) + body


async def half_closed(target: Target) -> None:
    """A client that closes its side after it has asked: to the server one that has left, as to TorchServe."""
    reader, writer = await connect(target.port)
    writer.write(request(target, b"half closed", b"Connection: close\r\n"))
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.endswith(b"half closed"), answer
    target.tally.left += 1


async def leaves(target: Target) -> None:
    """A client that resets its connection in the middle of a body, or while its answer is computed."""
    _, writer = await connect(target.port)
    whole = request(target, b"x" * 1000)
    writer.write(whole[: target.chance.choice([len(whole), len(whole) - 500, 30])])
    await writer.drain()
    await asyncio.sleep(target.chance.uniform(0, 0.02))
    reset_now(writer)
    target.tally.left += 1


async def slow(target: Target) -> None:
    """A client that sends a request in small pieces."""
    reader, writer = await connect(target.port)
    whole = request(target, b"slow", b"Connection: close\r\n")
    for at in range(0, len(whole), 9):
        writer.write(whole[at : at + 9])
        await writer.drain()
        await asyncio.sleep(0.05)
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b"slow"), answer
    target.tally.answered += 1


async def pipelined(target: Target) -> None:
    """A client that asks for ten things at once, and gets the answers in their order."""
    reader, writer = await connect(target.port)
    bodies = [b"number %d" % number for number in range(10)]
    writer.write(b"".join(request(target, body) for body in bodies))
    for body in bodies:
        assert await _answer(reader) == body
        target.tally.answered += 1
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer, which is one with 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    (length,) = (
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return await reader.readexactly(length)


async def never_reads(target: Target) -> None:
    """A client that asks on and on, reads nothing, and leaves."""
    _, writer = await connect(target.port)
    for _ in range(20):
        writer.write(request(target, b"x" * 20_000))
        target.tally.left += 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await writer.drain()
            await asyncio.sleep(0.3)
    reset_now(writer)


async def garbage(target: Target) -> None:
    """A client that does not speak HTTP."""
    reader, writer = await connect(target.port)
    writer.write(target.chance.randbytes(200) + b"\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()


async def toxic_time(target: Target) -> None:
    """Networks that cost time: all comes whole."""
    for toxic in SLOW:
        async with Proxy(target.port, toxic, target.chance) as proxy:
            reader, writer = await connect(proxy.port)
            for body in (b"one", b"two" * 2000):
                writer.write(request(target, body))
                assert await _answer(reader) == body
                target.tally.answered += 1
            writer.close()
        assert proxy.spoilt, toxic.__name__


async def toxic_tear(target: Target) -> None:
    """Networks that tear requests, or answers: neither comes whole, and no client gets anything else."""
    for toxic in TORN:
        await _torn(target, toxic)


async def _torn(target: Target, toxic: Toxic) -> None:
    async with Proxy(target.port, toxic, target.chance) as proxy:
        reader, writer = await connect(proxy.port)
        writer.write(request(target, b"torn" * 500))
        target.tally.left += 1
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.3):
                answer = await reader.read()
                assert not answer.endswith(b"torn" * 500), toxic.__name__
        writer.close()
        assert proxy.spoilt, toxic.__name__


async def rpc_cancelled(target: Target) -> None:
    """A caller over gRPC that changes its mind."""
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        call = caller(channel)(PREDICTIONS.request(model_name=target.model, input={"data": b"cancelled"}))
        await asyncio.sleep(target.chance.uniform(0, 0.03))
        call.cancel()
        target.tally.left += 1
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call


async def rpc_late(target: Target) -> None:
    """A caller over gRPC that waits for a millisecond: it is told that this will not do, or gives up."""
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        await channel.channel_ready()
        wanted = PREDICTIONS.request(model_name=target.model, input={"data": b"late"})
        target.tally.left += 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:  # the handler takes 20 ms
            await caller(channel)(wanted, timeout=0.001)
        in_vain = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert raised.value.code() in in_vain, raised.value


#: Each with its weight.
MANNERS: dict[Fault, int] = {
    half_closed: 1,
    leaves: 2,
    slow: 1,
    pipelined: 1,
    never_reads: 1,
    garbage: 2,
    toxic_time: 1,
    toxic_tear: 1,
    rpc_cancelled: 2,
    rpc_late: 2,
}
