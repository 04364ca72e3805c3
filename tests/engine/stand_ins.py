"""A dispatcher at work without processes: workers that say what a test lets them say, and a pool of them."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.policies import make_policy
from torchkeeper.engine.batching.policy import Event as PolicyEvent
from torchkeeper.engine.batching.policy import Lane, Policy, Send, View, WorkerView
from torchkeeper.engine.dispatch import Dispatcher
from torchkeeper.engine.stream import Stream
from torchkeeper.engine.weighing import weigher
from torchkeeper.metrics.instruments import Meter
from torchkeeper.pool.life import Event, Life
from torchkeeper.pool.process import WorkerProcess
from torchkeeper.pool.worker import Loss, Worker
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Batch,
    Cancel,
    Message,
    Outcome,
    decode_batch,
    encode_parts,
    encode_replies,
)
from torchkeeper.wire.messages import Failure, Input, Kind, ModelSpec, Part, Reply, Sample

SPEC = ModelSpec("m", "1.0", "/nowhere", {}, "handler.py", None, None, 1, None)
DEATH = Loss("the worker process left with exit code 7", killed=False, timed_out=False)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test that is a coroutine; one that hangs fails."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


async def until(what: Callable[[], bool]) -> None:
    """Returns once `what` has come true, after whatever timers and tasks that takes."""
    while not what():
        await asyncio.sleep(0.001)


async def turns(count: int = 5) -> None:
    """Lets everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Channel:
    """In the place of a worker's process: keeps what it is sent."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[Input]]] = []
        self.cancelled: list[tuple[int, tuple[int, ...]]] = []
        #: Batches that were answered.
        self.answered = 0
        self.held = False
        self.killed = False
        self._reader = FrameReader()

    def send(self, *frame: bytes) -> None:
        for message, raw in self._reader.feed(b"".join(frame)):
            if isinstance(message, Batch):
                self.batches.append((message.batch_id, decode_batch(message, raw)))
            elif isinstance(message, Cancel):
                self.cancelled.append((message.batch_id, message.indexes))

    def hold(self) -> None:
        self.held = True

    def let_on(self) -> None:
        self.held = False

    def kill(self) -> None:
        self.killed = True


def serving_worker(
    worker_id: int = 0, kill: Callable[[Worker, str], None] = lambda worker, why: None
) -> tuple[Worker, Channel]:
    """A worker that has loaded its model."""
    worker = Worker(worker_id, SPEC, Life(60.0), kill)
    worker.name = f"W-{9000 + worker_id}-m_1.0"
    channel = Channel()
    worker.process = cast(WorkerProcess, channel)
    worker.life.on(Event.SPAWNED, 0.0)
    worker.life.on(Event.LOADED, 0.0)
    return worker, channel


class Times(Meter):
    """Keeps what is measured."""

    def __init__(self) -> None:
        self.queued: list[float] = []
        self.totals: list[float] = []
        self.overheads: list[float] = []

    def answered(self, named: bool, queued: Sequence[float], totals: Sequence[float]) -> None:
        self.queued += queued
        self.totals += totals

    def batch(self, size: int, handler: float, overhead: float, uncompiled: int = 0) -> None:
        self.overheads.append(overhead)


class Told(Policy):
    """A policy that keeps what it is told, and decides what a test wants, else what another would."""

    def __init__(self, other: Policy) -> None:
        self._other = other
        self.events: list[PolicyEvent] = []
        self.wants: list[Send | float | None] = []

    def lane(self, request: Input) -> Lane:
        return self._other.lane(request)

    def observe(self, event: PolicyEvent, now: float) -> None:
        self.events.append(event)
        self._other.observe(event, now)

    def learned(self) -> Mapping[str, float]:
        return self._other.learned()

    def admit(
        self, lane: Lane, waiting: int, workers: Sequence[WorkerView], now: float, most: int
    ) -> str | None:
        return self._other.admit(lane, waiting, workers, now, most)

    def decide(self, view: View, now: float) -> Send | float | None:
        return self.wants.pop(0) if self.wants else self._other.decide(view, now)


class Dispatching:
    """A dispatcher with its queue, workers and clients."""

    def __init__(
        self,
        *,
        workers: int = 1,
        batch_size: int = 1,
        limit: int = 100,
        limit_bytes: int = 10**9,
        policy: Policy | None = None,
        response_timeout: float = 60.0,
        client_timeout: int = 0,
        retry: bool = True,
        job_ticket: bool = False,
        max_response_size: int = 1000,
        **costs: Any,
    ) -> None:
        settings = ModelSettings(
            **costs,
            batch_size=batch_size,
            job_queue_size=limit,
            job_queue_bytes=limit_bytes,
            response_timeout=response_timeout,
            client_timeout=client_timeout,
            retry_on_worker_death=retry,
            use_job_ticket=job_ticket,
        )
        self.policy = Told(policy or make_policy(settings))
        self.times = Times()
        self.samples: list[Sample] = []
        self.killed: list[tuple[Worker, str]] = []
        self.dispatcher = Dispatcher(
            settings,
            max_response_size,
            self.policy,
            lambda named: "No worker is available",
            lambda: self.times,
            self.samples.append,
            weigher(settings, None),
        )
        self.dispatcher.measure()
        self.dispatcher.on_availability(None)
        self.workers: list[tuple[Worker, Channel]] = []
        for _ in range(workers):
            self.hire()

    def hire(self) -> Channel:
        """One more worker, ready to serve."""
        worker, channel = serving_worker(
            len(self.workers), lambda *who_and_why: self.killed.append(who_and_why)
        )
        self.workers.append((worker, channel))
        self.dispatcher.on_ready(worker)
        return channel

    def ask(
        self,
        name: str,
        kind: Kind = Kind.PREDICT,
        *,
        envelope: str | None = None,
        in_parts: bool = False,
        patience: float | None = None,
    ) -> asyncio.Future[Any]:
        """A request; its answer is a Stream where parts are wanted and come."""
        return self.dispatcher.submit(request(name, kind, envelope), in_parts=in_parts, patience=patience)

    def channel(self, place: int = 0) -> Channel:
        return self.workers[place][1]

    def batches(self, place: int = 0) -> list[list[str]]:
        """The names of the requests in the batches that a worker got."""
        return [[request.request_id for request in batch] for _, batch in self.channel(place).batches]

    def say(self, frame: bytes, place: int = 0) -> None:
        """A worker sends a frame."""
        worker = self.workers[place][0]
        for message, raw in FrameReader().feed(frame):
            self.dispatcher.on_message(worker, cast(Message, message), raw)

    def parts(self, *bodies: bytes | None, place: int = 0) -> None:
        """A worker sends a part of each answer of its running batch (None: none for that one)."""
        channel = self.channel(place)
        number, _ = channel.batches[channel.answered]
        self.say(encode_parts(number, [None if body is None else Reply(body) for body in bodies]), place)

    def answer(
        self,
        *outcomes: bytes | Failure | None,
        place: int = 0,
        samples: tuple[Sample, ...] = (),
        too_large: int = 0,
    ) -> None:
        """A worker answers its running batch; without outcomes each request by its own name."""
        channel = self.channel(place)
        number, inputs = channel.batches[channel.answered]
        channel.answered += 1
        given: tuple[bytes | Failure | None, ...] = outcomes or tuple(
            request.request_id.encode() for request in inputs
        )
        replies: list[Outcome] = [Reply(one) if isinstance(one, bytes) else one for one in given]
        self.say(encode_replies(number, replies, samples, 0.0, too_large), place)

    def dismiss(self, place: int = 0) -> None:
        """A worker is to answer what it holds and leave."""
        worker = self.workers[place][0]
        worker.life.on(Event.STOP, time.monotonic())
        self.dispatcher.on_leaving(worker)

    def die(self, place: int = 0, loss: Loss = DEATH) -> None:
        """A worker's process ends."""
        worker = self.workers[place][0]
        worker.process = None
        worker.life.on(Event.EXITED, time.monotonic(), loss.cause)
        self.dispatcher.on_lost(worker, loss)


def request(name: str, kind: Kind = Kind.PREDICT, envelope: str | None = None) -> Input:
    return Input(name, kind, (Part("body", name.encode()),), {}, envelope)


async def read(stream: Stream) -> list[bytes]:
    """All parts of a stream."""
    return [part.body async for part in stream]


async def stream_of(ticket: asyncio.Future[Any]) -> Stream:
    """The answer, which has to be one in parts."""
    answer = await ticket
    assert isinstance(answer, Stream)
    return answer
