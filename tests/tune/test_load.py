"""Closed and open loops against real sockets; what counts as a latency."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable

import pytest
from answering import Answerer, answering  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.tune import load
from torchkeeper.tune.agreement import Judge
from torchkeeper.tune.asker import Socket, request
from torchkeeper.tune.load import LoadRun, Questions
from torchkeeper.wire.agreement import Check

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
NAMES = ("a", "b", "c")


async def driven(answer: Answerer, drive: Callable[[Questions], Awaitable[LoadRun]]) -> tuple[LoadRun, Judge]:
    """A load on a server of bodies of one byte."""

    judge = Judge({at: name.encode() for at, name in enumerate(NAMES)}, Check(), NAMES)
    async with answering(answer) as place:
        return await drive(Questions(place, [request("POST", "/", n.encode()) for n in NAMES], judge)), judge


async def echo(body: bytes) -> bytes:
    return ANSWER + body


def test_a_closed_loop_takes_turns_and_counts_what_was_answered() -> None:
    seen: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        seen.append(body)
        return ANSWER + body

    run, judge = asyncio.run(driven(answer, lambda questions: load.closed(questions, 4, 0.0, least=300)))
    assert len(run.latencies) == 300
    assert judge.answers == len(seen)
    assert 300 <= len(seen) <= 303
    assert {seen.count(name.encode()) // 100 for name in NAMES} == {1}
    assert not judge.failure
    assert not judge.difference
    assert list(run.latencies) == sorted(run.latencies)
    assert run.rate == pytest.approx(300 / run.seconds)
    assert run.generator > 0


def test_a_closed_loop_never_has_more_on_the_way_than_connections() -> None:
    on_the_way = most = 0

    async def answer(body: bytes) -> bytes:
        nonlocal on_the_way, most
        on_the_way += 1
        most = max(most, on_the_way)
        await asyncio.sleep(0)
        on_the_way -= 1
        return ANSWER + body

    asyncio.run(driven(answer, lambda questions: load.closed(questions, 5, 0.0, least=100)))
    assert most == 5


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_failure_ends_a_load(kind: str) -> None:
    count = 0

    async def answer(body: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return ANSWER + body if count < 20 else None

    def drive(questions: Questions) -> Awaitable[LoadRun]:
        if kind == "closed":
            return load.closed(questions, 2, 0.0, least=10**6)
        return load.opened(questions, [n / 1e4 for n in range(10**5)], 2)

    _, judge = asyncio.run(driven(answer, drive))
    assert "the connection was lost" in judge.failure


def test_another_answer_is_a_difference() -> None:
    async def wrong(body: bytes) -> bytes:
        return ANSWER + (b"x" if body == b"c" else body)

    _, judge = asyncio.run(driven(wrong, lambda questions: load.closed(questions, 1, 0.0, least=10)))
    assert judge.difference == "c: 'c' became 'x'"


def test_an_open_loop_counts_the_wait_for_a_connection() -> None:
    """The server stalls once, for as long as the whole load: all that came meanwhile have waited for it."""
    stalled = asyncio.Event()
    asked_first: list[bytes] = []

    async def stalls(body: bytes) -> bytes:
        if not asked_first:
            asked_first.append(body)
            asyncio.get_running_loop().call_later(0.3, stalled.set)
        await stalled.wait()
        return ANSWER + body

    moments = [n / 1000 for n in range(100)]
    run, judge = asyncio.run(driven(stalls, lambda questions: load.opened(questions, moments, 1)))
    assert judge.answers == len(run.latencies) == 100
    assert run.percentile(0.0) >= 0.3 - moments[-1] - 0.01  # the last one has waited least
    assert run.percentile(1.0) >= 0.29


def test_what_is_never_answered_is_infinitely_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE", 0.05)

    async def never(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return body

    run, _ = asyncio.run(driven(never, lambda questions: load.opened(questions, [0.0, 0.001], 1)))
    assert list(run.latencies) == [math.inf, math.inf]
    assert run.rate == 0.0


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        questions = Questions(Socket(*held.getsockname()), [request("GET", "/")], Judge({}, Check(), ("x",)))
        with pytest.raises(OSError, match="onnect"):
            asyncio.run(load.closed(questions, 1, 0.0))
