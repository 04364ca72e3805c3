"""One connection's requests and answers, against real sockets."""

from __future__ import annotations

import asyncio

import pytest
from answering import Answerer, answering  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.tune.asker import Asker, ask, request


def in_turn(answers: list[bytes]) -> Answerer:
    """These answers, one for each request, then none."""
    left = iter(answers)

    async def answer(body: bytes) -> bytes | None:
        return next(left, None)

    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", (200, b"hi")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", (503, b"")),
    ],
)
def test_an_answer_is_read(answer: bytes, expected: tuple[int, bytes]) -> None:
    async def run() -> None:
        async with answering(in_turn([answer])) as place:
            assert await ask(place, request("POST", "/x", b"body", "text/plain"), 10) == expected

    asyncio.run(run())


@pytest.mark.parametrize("answers", [[], [b"no http\r\n\r\n"]])
def test_no_answer_is_told_of(answers: list[bytes]) -> None:
    async def run() -> None:
        async with answering(in_turn(answers)) as place:
            with pytest.raises(OSError, match=r"connection was lost|no HTTP"):
                await ask(place, request("GET", "/"), 10)

    asyncio.run(run())


def test_one_connection_serves_many_requests_and_says_when_it_is_gone() -> None:
    async def run() -> list[tuple[int, bytes]]:
        one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d"
        found: list[tuple[int, bytes]] = []
        over = asyncio.Event()

        def heard(asker: Asker, status: int, body: bytes) -> None:
            found.append((status, body))
            over.set() if status == 0 else asker.send(request("GET", "/"))

        async with answering(in_turn([one % n for n in range(3)])) as place:
            asker = await Asker.to(place, heard)
            asker.send(request("GET", "/"))
            await over.wait()
            asker.send(request("GET", "/"))
        return found

    answers = asyncio.run(run())
    assert answers[:3] == [(200, b"0"), (200, b"1"), (200, b"2")]
    assert [status for status, _ in answers[3:]] == [0, 0]


@pytest.mark.parametrize(
    ("target", "content_type"), [("/a b", None), ("/ü", None), ("/", "a\r\nb: c"), ("/\n", "text/plain")]
)
def test_no_request_carries_another(target: str, content_type: str | None) -> None:
    with pytest.raises(ValueError, match="characters that no request may have"):
        request("POST", target, b"", content_type)
