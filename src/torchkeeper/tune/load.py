"""Load on the server: closed loops (each connection asks again when it was answered) and open ones.

An open loop sends at moments that were settled before, whatever the server does, and counts a latency from
the moment settled: a request that had to wait for a connection has waited. In a closed loop a server that
stalls is asked less meanwhile, which hides what its clients would have waited (coordinated omission).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from torchkeeper.tune.agreement import Judge
from torchkeeper.tune.asker import Asker, Socket
from torchkeeper.tune.latency import percentile

#: Seconds that the last answers may take.
PATIENCE = 5.0
#: Connections of an open loop: fewer than requests may wait at the server by default.
OPEN_CONNECTIONS = 96


@dataclass(frozen=True)
class LoadRun:
    """What came of a load; times in seconds."""

    #: Ascending; infinite for what was not answered.
    latencies: Sequence[float]
    seconds: float
    #: Processor seconds of this process, a second.
    generator: float
    #: By which 99 % of an open loop's requests were sent late by this process itself.
    lag: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        answered = sum(1 for latency in self.latencies if latency < math.inf)
        return answered / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """A percentile of the latencies; `share` is 0.99 for p99."""
        return percentile(self.latencies, share)


@dataclass(frozen=True)
class Questions:
    """Whom to ask what, and who looks at the answers."""

    place: Socket
    #: A request for each sample.
    requests: Sequence[bytes]
    judge: Judge


async def closed(
    questions: Questions, connections: int, seconds: float, least: int = 0, longest: float = math.inf
) -> LoadRun:
    """Every connection asks, and asks again once it was answered; samples take turns.

    Args:
        questions: whom, and what.
        connections: requests that are on their way at once.
        seconds: how long; it goes on until at least
        least: answers came, but not for more than
        longest: seconds, as long as a last answer does not take longer.

    Raises:
        OSError: the server does not listen.
    """
    loop = _ClosedLoop(questions, seconds, least, longest)
    await loop.open(connections)
    begin = time.process_time()
    try:
        return await loop.run(begin)
    finally:
        loop.close()


class _ClosedLoop:
    def __init__(self, questions: Questions, seconds: float, least: int, longest: float) -> None:
        self._questions = questions
        self._seconds, self._least, self._longest = seconds, least, longest
        self._askers: list[Asker] = []
        self._next = 0
        self._begin = self._last = 0.0
        self._over = False
        self._latencies: list[float] = []
        self._done = asyncio.Event()

    async def open(self, connections: int) -> None:
        for _ in range(connections):
            self._askers.append(await Asker.to(self._questions.place, self._told))

    async def run(self, processor: float) -> LoadRun:
        self._begin = time.monotonic()
        for asker in self._askers:
            self._ask(asker)
        await self._done.wait()
        elapsed = self._last - self._begin
        used = time.process_time() - processor
        return LoadRun(sorted(self._latencies), elapsed, used / max(elapsed, 1e-9))

    def close(self) -> None:
        for asker in self._askers:
            asker.close()

    def _ask(self, asker: Asker) -> None:
        requests = self._questions.requests
        asker.sample = self._next % len(requests)
        self._next += 1
        asker.since = time.monotonic()
        asker.send(requests[asker.sample])

    def _told(self, asker: Asker, status: int, body: bytes) -> None:
        now = time.monotonic()
        judge = self._questions.judge
        judge.take(asker.sample, status, body)
        if not self._over:
            self._latencies.append(now - asker.since)
            self._last = now
            spent = now - self._begin
            enough = spent >= self._seconds and len(self._latencies) >= self._least
            self._over = enough or spent >= self._longest or bool(judge.failure)
        if not self._over:
            self._ask(asker)
        elif not any(one.waiting for one in self._askers):
            self._done.set()


async def opened(
    questions: Questions, moments: Sequence[float], connections: int = OPEN_CONNECTIONS
) -> LoadRun:
    """Asks at the moments given, in seconds from now; what has no free connection waits, which counts.

    What is not answered `PATIENCE` seconds after the last moment has an infinite latency.

    Raises:
        OSError: the server does not listen.
    """
    loop = _OpenLoop(questions, moments)
    await loop.open(connections)
    begin = time.process_time()
    try:
        return await loop.run(begin)
    finally:
        loop.close()


class _OpenLoop:
    def __init__(self, questions: Questions, moments: Sequence[float]) -> None:
        self._questions = questions
        self._moments = moments
        self._next = 0
        self._idle: list[Asker] = []
        self._all: list[Asker] = []
        #: Numbers of requests whose moment has come.
        self._backlog: deque[int] = deque()
        self._begin = 0.0
        self._latencies: list[float] = []
        self._lags: list[float] = []
        self._done = asyncio.Event()

    async def open(self, connections: int) -> None:
        for _ in range(connections):
            self._all.append(await Asker.to(self._questions.place, self._told))
        self._idle = list(self._all)

    async def run(self, processor: float) -> LoadRun:
        self._begin = time.monotonic()
        if self._moments:
            self._arrive()
            try:
                await asyncio.wait_for(self._done.wait(), self._moments[-1] + PATIENCE)
            except TimeoutError:
                missing = len(self._moments) - len(self._latencies)
                self._latencies += [math.inf] * missing
        elapsed = time.monotonic() - self._begin
        used = time.process_time() - processor
        return LoadRun(
            sorted(self._latencies), elapsed, used / max(elapsed, 1e-9), percentile(sorted(self._lags), 0.99)
        )

    def close(self) -> None:
        for asker in self._all:
            asker.close()

    def _arrive(self) -> None:
        """Takes in what is due, and comes again when the next one is."""
        if self._done.is_set():
            return
        now = time.monotonic() - self._begin
        while self._next < len(self._moments) and self._moments[self._next] <= now:
            self._lags.append(now - self._moments[self._next])
            self._backlog.append(self._next)
            self._next += 1
        self._send()
        if self._next < len(self._moments):
            wait = self._moments[self._next] - (time.monotonic() - self._begin)
            asyncio.get_running_loop().call_later(max(wait, 0.0), self._arrive)

    def _send(self) -> None:
        requests = self._questions.requests
        while self._backlog and self._idle:
            number, asker = self._backlog.popleft(), self._idle.pop()
            asker.sample = number % len(requests)
            asker.since = self._moments[number]
            asker.send(requests[asker.sample])

    def _told(self, asker: Asker, status: int, body: bytes) -> None:
        self._latencies.append(time.monotonic() - self._begin - asker.since)
        judge = self._questions.judge
        judge.take(asker.sample, status, body)
        self._idle.append(asker)
        if judge.failure or len(self._latencies) == len(self._moments):
            self._done.set()
        elif self._backlog:
            self._send()
