"""Clients that ask all the time and check every answer: each body is one of its own, and comes back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

#: Seconds after which a request counts as never answered.
NEVER = 60.0


@dataclass
class Outcomes:
    """What became of the requests of a load."""

    #: By status; -1: the connection ended without an answer, -2: no answer came at all.
    statuses: Counter[int] = field(default_factory=Counter)
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

    def __str__(self) -> str:
        return f"{dict(self.statuses)}, {len(self.swapped)} swapped, {dict(self.causes)}"


class Load:
    """So many clients, each of which asks for the next thing as soon as it has an answer."""

    def __init__(self, port: int, model: str, clients: int) -> None:
        self.outcomes = Outcomes()
        self._url = f"http://127.0.0.1:{port}/predictions/{model}"
        self._clients = clients
        self._numbers = itertools.count()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lets each client have its last answer."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        async with httpx.AsyncClient(timeout=NEVER) as client:
            while not self._over.is_set():
                body = f"request {next(self._numbers)}"
                begin = time.monotonic()
                await self._ask(client, body)
                self.outcomes.seconds.append(time.monotonic() - begin)

    async def _ask(self, client: httpx.AsyncClient, body: str) -> None:
        try:
            answer = await client.post(self._url, content=body)
        except httpx.TimeoutException:
            self.outcomes.statuses[-2] += 1
        except httpx.TransportError as error:
            self.outcomes.statuses[-1] += 1
            self.outcomes.causes[repr(error)] += 1
        else:
            self.outcomes.statuses[answer.status_code] += 1
            if answer.status_code != 200:
                self.outcomes.causes[answer.text] += 1
            elif answer.text != body:
                self.outcomes.swapped.append(f"{answer.text!r} for {body!r}")
