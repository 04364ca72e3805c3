"""Streams: order, ends, errors, and the bound that a slow reader meets."""

from __future__ import annotations

import asyncio

import pytest

from torchkeeper.engine.stream import FULL, Closed, Stream
from torchkeeper.errors import PredictionFailed
from torchkeeper.wire.messages import Reply


async def read(stream: Stream) -> list[bytes]:
    return [part.body async for part in stream]


def test_parts_come_in_order_and_an_empty_end_adds_nothing() -> None:
    async def run() -> list[bytes]:
        stream = Stream(Reply(b"a"))
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0)
        stream.put(Reply(b"b"))
        await asyncio.sleep(0)
        stream.put(Reply(b"c"))
        stream.end(Reply(b""))
        return await reading

    assert asyncio.run(run()) == [b"a", b"b", b"c"]


def test_what_came_before_an_error_is_read_before_it() -> None:
    async def run() -> None:
        stream = Stream(Reply(b"a"))
        stream.fail(PredictionFailed("Prediction failed"))
        assert (await anext(stream)).body == b"a"
        with pytest.raises(PredictionFailed):
            await anext(stream)

    asyncio.run(run())


def test_a_closed_stream_wakes_its_reader() -> None:
    async def run() -> None:
        stream = Stream(Reply(b"a"))
        await anext(stream)
        reading = asyncio.create_task(anext(stream))  # type: ignore[arg-type]  # anext of our own iterator is a coroutine
        await asyncio.sleep(0)
        stream.close()
        with pytest.raises(Closed):
            await reading

    asyncio.run(run())


def test_a_full_stream_says_once_that_there_is_room_again() -> None:
    async def run() -> list[int]:
        stream = Stream(Reply(b"a"))
        said: list[int] = []
        stream.on_room = lambda: said.append(1)
        for _ in range(8):
            stream.put(Reply(bytes(FULL // 4)))
        assert stream.full
        for _ in range(9):
            await anext(stream)
        assert not stream.full
        return said

    assert asyncio.run(run()) == [1]
