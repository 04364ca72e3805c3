"""Clients that ask all the time and check every answer: each body is one of its own, and comes back.

Some of them speak HTTP, some gRPC.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import httpx
from manners import PREDICTIONS, caller  # type: ignore[import-not-found]

#: Seconds after which a request counts as never answered.
NEVER = 60.0


@dataclass
class Outcomes:
    """What became of the requests of a load."""

    #: By status, gRPC's OK as 200; -1: the connection ended without an answer, -2: no answer came at all.
    statuses: Counter[int] = field(default_factory=Counter)
    #: Of those with 200: by protocol.
    protocols: Counter[str] = field(default_factory=Counter)
    #: Answers with 200 that are those of another request.
    swapped: list[str] = field(default_factory=list)
    #: What was told of requests that were not answered with 200.
    causes: Counter[str] = field(default_factory=Counter)
    #: Seconds that each took.
    seconds: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Requests without a right answer."""
        return sum(self.statuses.values()) - self.statuses[200] + len(self.swapped)

    def answer(self, protocol: str, body: str, answer: str) -> None:
        """An answer with 200 came."""
        self.statuses[200] += 1
        self.protocols[protocol] += 1
        if answer != body:
            self.swapped.append(f"{answer!r} for {body!r}")

    def __str__(self) -> str:
        by_protocol = dict(self.protocols)
        return f"{dict(self.statuses)} {by_protocol}, {len(self.swapped)} swapped, {dict(self.causes)}"


#: Asks for what a body says.
_Ask = Callable[[str], Awaitable[None]]


class Load:
    """So many clients, each of which asks for the next thing as soon as it has an answer.

    Args:
        port: of the server, for clients that speak HTTP.
        model: is asked.
        clients: so many of them.
        grpc: the server's address for clients that speak gRPC.
        callers: so many of those.
    """

    def __init__(self, port: int, model: str, clients: int, grpc: str = "", callers: int = 0) -> None:
        self.outcomes = Outcomes()
        self._url = f"http://127.0.0.1:{port}/predictions/{model}"
        self._model = model
        self._grpc = grpc
        self._clients, self._callers = clients, callers
        self._numbers = itertools.count()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        clients = [self._client() for _ in range(self._clients)]
        self._tasks = [asyncio.create_task(each) for each in (*clients, *self._rpc_clients())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lets each client have its last answer."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _go_on(self, ask: _Ask) -> None:
        while not self._over.is_set():
            begin = time.monotonic()
            await ask(f"request {next(self._numbers)}")
            self.outcomes.seconds.append(time.monotonic() - begin)

    async def _client(self) -> None:
        async with httpx.AsyncClient(timeout=NEVER) as client:

            async def ask(body: str) -> None:
                try:
                    answer = await client.post(self._url, content=body)
                except httpx.TimeoutException:
                    self.outcomes.statuses[-2] += 1
                except httpx.TransportError as error:
                    self.outcomes.statuses[-1] += 1
                    self.outcomes.causes[repr(error)] += 1
                else:
                    if answer.status_code == 200:
                        self.outcomes.answer("http", body, answer.text)
                    else:
                        self.outcomes.statuses[answer.status_code] += 1
                        self.outcomes.causes[answer.text] += 1

            await self._go_on(ask)

    def _rpc_clients(self) -> list[Awaitable[None]]:
        return [self._caller() for _ in range(self._callers)]

    async def _caller(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(self._grpc, options) as channel:
            call = caller(channel)

            async def ask(body: str) -> None:
                wanted = PREDICTIONS.request(model_name=self._model, input={"data": body.encode()})
                try:
                    reply = await call(wanted, timeout=NEVER)
                except grpc.aio.AioRpcError as error:
                    code = error.code()
                    self.outcomes.statuses[-2 if code is grpc.StatusCode.DEADLINE_EXCEEDED else -1] += 1
                    self.outcomes.causes[f"{code.name}: {error.details()}"] += 1
                else:
                    self.outcomes.answer("grpc", body, reply.prediction.decode())

            await self._go_on(ask)
