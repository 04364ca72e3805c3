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
    return await _ClosedLoop(questions, seconds, least, longest).over(connections)


class _Loop:
    """Connections, and what came of a load; `over` runs it."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._askers: list[Asker] = []
        self._begin = 0.0
        self._latencies: list[float] = []
        self._done = asyncio.Event()

    async def over(self, connections: int) -> LoadRun:
        try:
            for _ in range(connections):
                self._askers.append(await Asker.to(self._questions.place, self._told))
            processor, self._begin = time.process_time(), time.monotonic()
            end = await self._run()
            elapsed, used = end - self._begin, time.process_time() - processor
            return LoadRun(sorted(self._latencies), elapsed, used / max(elapsed, 1e-9), self._lag())
        finally:
            for asker in self._askers:
                asker.close()

    async def _run(self) -> float:
        """The moment when it was over."""
        raise NotImplementedError

    def _lag(self) -> float:
        return 0.0

    def _told(self, asker: Asker, status: int, body: bytes) -> None:
        raise NotImplementedError


class _ClosedLoop(_Loop):
    def __init__(self, questions: Questions, seconds: float, least: int, longest: float) -> None:
        super().__init__(questions)
        self._seconds, self._least, self._longest = seconds, least, longest
        self._next = 0
        self._last = 0.0
        self._over = False

    async def _run(self) -> float:
        for asker in self._askers:
            self._ask(asker)
        await self._done.wait()
        return self._last

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
    return await _OpenLoop(questions, moments).over(connections)


class _OpenLoop(_Loop):
    def __init__(self, questions: Questions, moments: Sequence[float]) -> None:
        super().__init__(questions)
        self._moments = moments
        self._next = 0
        self._idle: list[Asker] = []
        #: Numbers of requests whose moment has come.
        self._backlog: deque[int] = deque()
        self._lags: list[float] = []

    async def _run(self) -> float:
        self._idle = list(self._askers)
        if self._moments:
            self._arrive()
            try:
                await asyncio.wait_for(self._done.wait(), self._moments[-1] + PATIENCE)
            except TimeoutError:
                missing = len(self._moments) - len(self._latencies)
                self._latencies += [math.inf] * missing
        return time.monotonic()

    def _lag(self) -> float:
        return percentile(sorted(self._lags), 0.99)

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
