"""Clients: one request, many at once, a stream of them at a fixed rate, and what became of each.

Knows HTTP, and nothing of servers or of what is measured.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

#: Seconds after which a request counts as never answered.
NEVER = 20.0
#: What is answered when no answer came, and when the connection ended instead.
SILENCE, CUT = -1, -2


@dataclass(frozen=True)
class Answer:
    """Status (or SILENCE, CUT), body, seconds until it was there, and the header Retry-After."""

    status: int
    body: str = ""
    seconds: float = 0.0
    retry_after: str | None = None
    #: When it was asked for (time.monotonic()).
    begun: float = 0.0


def ask(
    port: int,
    body: str | bytes,
    timeout: float = NEVER,
    path: str = "/predictions/trial",
    method: str = "POST",
) -> Answer:
    """One request on a connection of its own."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body.encode() if isinstance(body, str) else body)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        after = response.getheader("Retry-After")
        return Answer(response.status, text, time.monotonic() - begin, after)
    except TimeoutError:
        return Answer(SILENCE, seconds=time.monotonic() - begin)
    except (OSError, http.client.HTTPException):
        return Answer(CUT, seconds=time.monotonic() - begin)
    finally:
        connection.close()


def together(port: int, bodies: Sequence[str], timeout: float = NEVER) -> list[Answer]:
    """All at once, each by a thread on a connection of its own."""
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda body: ask(port, body, timeout), bodies))


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so great a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def _exchange(
    port: int, body: str, headers: Mapping[str, str], ready: asyncio.Barrier | None = None
) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if ready is not None:
            await ready.wait()
        begin = time.monotonic()
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /predictions/trial HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        text = (await reader.readexactly(int(found.get("content-length", 0)))).decode(errors="replace")
        seconds = time.monotonic() - begin
        return Answer(int(first.split()[1]), text, seconds, found.get("retry-after"), begin)
    finally:
        writer.close()


async def _bounded(port: int, body: str, headers: Mapping[str, str], patience: float) -> Answer:
    begin = time.monotonic()
    try:
        return await asyncio.wait_for(_exchange(port, body, headers), patience)
    except TimeoutError:
        return Answer(SILENCE, seconds=patience, begun=begin)
    except (OSError, asyncio.IncompleteReadError):
        return Answer(CUT, seconds=time.monotonic() - begin, begun=begin)


def burst(port: int, bodies: Sequence[str]) -> list[Answer]:
    """All at the same moment, on connections that are open; seconds count from that moment on."""

    async def run() -> list[Answer]:
        ready = asyncio.Barrier(len(bodies))
        return list(await asyncio.gather(*(_exchange(port, body, {}, ready) for body in bodies)))

    return asyncio.run(run())


def at_rate(
    port: int,
    bodies: Iterator[str],
    rate: float,
    seconds: float,
    patience: float = NEVER,
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """So many requests a second, whatever becomes of them; clients leave when their patience is over."""

    async def run() -> list[Answer]:
        begin, asked = time.monotonic(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(begin + number / rate - time.monotonic(), 0))
            asked.append(asyncio.create_task(_bounded(port, next(bodies), headers or {}, patience)))
        return list(await asyncio.gather(*asked))

    return asyncio.run(run())
