"""What goes wrong, on purpose: workers killed or stopped, clients that misbehave, models that come and go.

Each fault makes sure that it happened, and raises if it did not: a run without its faults shows nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import psutil


@dataclass
class Target:
    """A server, and what it serves."""

    pid: int
    port: int
    manage: str
    model: str
    #: An archive that comes and goes.
    other: str
    chance: random.Random

    def workers(self) -> list[psutil.Process]:
        """The workers: the children of the process that they are forked from."""
        return [
            worker
            for template in psutil.Process(self.pid).children()
            for worker in template.children()
            if worker.status() != psutil.STATUS_ZOMBIE
        ]

    def worker(self) -> psutil.Process | None:
        """One of them; none while all are being replaced."""
        found = self.workers()
        return self.chance.choice(found) if found else None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    def request(self, body: bytes, headers: bytes = b"") -> bytes:
        """A prediction's bytes."""
        head = b"POST /predictions/%b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
        return head % (self.model.encode(), headers, len(body)) + body


async def _signal(target: Target, number: signal.Signals) -> int:
    """Sends a worker a signal, once there is one; its process."""
    worker = target.worker()
    while worker is None:
        await asyncio.sleep(0.01)
        worker = target.worker()
    os.kill(worker.pid, number)
    return worker.pid


async def kill(target: Target) -> None:
    """kill -9 of a worker, whatever it does."""
    await _signal(target, signal.SIGKILL)


async def crash(target: Target) -> None:
    """A worker ends as by a fault of its memory."""
    await _signal(target, signal.SIGSEGV)


async def terminate(target: Target) -> None:
    """SIGTERM to a worker, which nobody but the server should send."""
    await _signal(target, signal.SIGTERM)


async def stop(target: Target) -> None:
    """A worker stands still for a moment."""
    pid = await _signal(target, signal.SIGSTOP)
    await asyncio.sleep(target.chance.uniform(0.1, 0.5))
    os.kill(pid, signal.SIGCONT)


async def half_closed(target: Target) -> None:
    """A client that closes its side after it has asked: to the server one that has left, as to TorchServe."""
    reader, writer = await target.connect()
    writer.write(target.request(b"half closed", b"Connection: close\r\n"))
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.endswith(b"half closed"), answer


async def reset(target: Target) -> None:
    """A client that resets its connection in the middle of a body, or while its answer is computed."""
    _, writer = await target.connect()
    whole = target.request(b"x" * 1000)
    writer.write(whole[: target.chance.choice([len(whole), len(whole) - 500, 30])])
    await writer.drain()
    await asyncio.sleep(target.chance.uniform(0, 0.02))
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def slow(target: Target) -> None:
    """A client that sends a request in small pieces."""
    reader, writer = await target.connect()
    whole = target.request(b"slow", b"Connection: close\r\n")
    for at in range(0, len(whole), 9):
        writer.write(whole[at : at + 9])
        await writer.drain()
        await asyncio.sleep(0.05)
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b"slow"), answer


async def pipelined(target: Target) -> None:
    """A client that asks for ten things at once, and gets the answers in their order."""
    reader, writer = await target.connect()
    bodies = [b"number %d" % number for number in range(10)]
    writer.write(b"".join(target.request(body) for body in bodies))
    for body in bodies:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        (length,) = (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        assert await reader.readexactly(length) == body
    writer.close()


async def garbage(target: Target) -> None:
    """A client that does not speak HTTP."""
    reader, writer = await target.connect()
    writer.write(target.chance.randbytes(200) + b"\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()


async def scale(target: Target) -> None:
    """More workers, fewer, and as many as before."""
    async with httpx.AsyncClient(base_url=target.manage, timeout=60) as manage:
        for count in (3, 1, 2):
            answer = await manage.put(
                f"/models/{target.model}", params={"min_worker": count, "max_worker": count}
            )
            assert answer.status_code == 202, answer.text
            await asyncio.sleep(0.1)


async def come_and_go(target: Target) -> None:
    """Another model is registered and unregistered; it answers in between."""
    async with httpx.AsyncClient(base_url=target.manage, timeout=60) as manage:
        name = f"other-{target.chance.randrange(10**9)}"
        query = {"url": target.other, "model_name": name, "initial_workers": "1", "synchronous": "true"}
        answer = await manage.post("/models", params=query)
        assert answer.status_code == 200, answer.text
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{target.port}", timeout=60) as client:
            assert (await client.post(f"/predictions/{name}", content="it is there")).text == "it is there"
        answer = await manage.delete(f"/models/{name}")
        assert answer.status_code == 200, answer.text


Fault = Callable[[Target], Awaitable[None]]
#: Each with its weight.
FAULTS: dict[Fault, int] = {
    kill: 3,
    crash: 1,
    terminate: 1,
    stop: 1,
    half_closed: 1,
    reset: 2,
    slow: 1,
    pipelined: 1,
    garbage: 2,
    scale: 1,
    come_and_go: 1,
}
#: Those that end a worker: between two of them the others have time to be replaced, for a request that meets
#: both is not tried a third time.
ENDS_A_WORKER = (kill, crash, terminate)
