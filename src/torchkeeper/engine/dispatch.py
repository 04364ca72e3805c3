"""The dispatcher of one model version: requests in, batches out, tickets resolved.

Owns the queue and what is in the workers' hands. It obeys the batching policy, counts the response timeout
from the moment a batch is the first in its worker's hands, and sees to it that every accepted request gets
exactly one answer, whatever becomes of the worker: what was prepared goes elsewhere, what ran is sent again
once, alone. Times are time.monotonic(): the event loop's clock, but finer than uvloop's milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.admission import Admission, Full
from torchkeeper.engine.batching.obeyed import Obeyed
from torchkeeper.engine.batching.policy import Arrived, Done, Left, Lost, Policy, Send, Sent, View
from torchkeeper.engine.crew import Crew
from torchkeeper.engine.in_hand import Hands, InHand
from torchkeeper.engine.quarantine import Held, Quarantine
from torchkeeper.engine.queue import Entry, EntryQueue, size_of
from torchkeeper.engine.retry import Fate, decided
from torchkeeper.engine.stream import Stream
from torchkeeper.engine.tempo import Tempo
from torchkeeper.engine.weighing import Weigher
from torchkeeper.errors import PredictionFailed, WorkerDied
from torchkeeper.metrics.instruments import Meter
from torchkeeper.pool.worker import Loss, Refusal, Worker
from torchkeeper.wire.frames import Cancel, Intermediate, Message, Replies, batch_pieces, encode
from torchkeeper.wire.messages import Failure, Input, Reply, Sample

logger = logging.getLogger(__name__)


class Dispatcher:
    """Matches waiting requests with workers, which the pool reports (`pool.worker.WorkerEvents`).

    Args:
        settings: what holds for the model.
        max_response_size: bytes that the joined parts of a streamed answer may have.
        policy: decides who shares a batch, and when it goes.
        sentence: as `Admission` takes it.
        make_meter: makes what measures this version, at its start.
        record: takes the numbers that a handler recorded.
        weigher: says what requests cost, and what keeps them apart; None: all are alike.
    """

    def __init__(
        self,
        settings: ModelSettings,
        max_response_size: int,
        policy: Policy,
        sentence: Callable[[bool], str],
        make_meter: Callable[[], Meter],
        record: Callable[[Sample], None],
        weigher: Weigher | None = None,
    ) -> None:
        self._settings = settings
        self._max_response_size = max_response_size
        self._policy = policy
        self._observe = policy.observe
        self._decide = Obeyed(policy).decide
        self._tempo = Tempo()
        #: Seconds that a request may wait; 0: as long as it takes.
        self._patience = settings.client_timeout / 1000
        self._admission = Admission(sentence)
        self._make_meter = make_meter
        self._meter = Meter()
        self._record = record
        self.weigher = weigher
        self._queue = EntryQueue(
            settings.job_queue_size,
            settings.job_queue_bytes,
            on_left=lambda lane: policy.observe(Left(lane), time.monotonic()),
            beyond=self._beyond,
            bound=(settings.most_in_batch, settings.max_batch_cost),
        )
        self._quarantine = Quarantine(settings.quarantine_time)
        self._crew = Crew(settings.most_in_batch, auto=settings.auto_batches)
        self._emptied = asyncio.Event()
        self._next_batch = 0
        self._pumping = False
        self._wake: asyncio.TimerHandle | None = None

    def measure(self, growth: Callable[[], float | None] = lambda: None) -> None:
        """This version is served from now on, and measured, with `growth` of its workers; called once."""
        self._meter = self._make_meter()
        self._meter.watch(self._queue.__len__, growth, self.learned)

    def unmeasure(self) -> None:
        """This version is gone: what was measured of it as it is now is forgotten."""
        self._meter.close()

    # --- requests ----------------------------------------------------------------------------------------

    def submit(
        self,
        request: Input,
        *,
        explicit_version: bool = False,
        in_parts: bool = False,
        patience: float | None = None,
    ) -> asyncio.Future[Any]:
        """Queues a request; its answer, or the error that is the answer, comes by the future.

        The answer is a Reply, in which the parts of a streamed one are joined; with `in_parts` it is a Stream
        as soon as its first part has come. The client waits for `patience` seconds, where it says so.

        Raises:
            BadRequest: what it costs, or what keeps it apart, cannot be known.
            Quarantined: the same request has ended two workers.
            QueueFull: too many wait, or too many for this client.
            ServiceUnavailable: nobody can take it now (closed, scaled to 0, given up).
        """
        now = time.monotonic()
        if self._admission.closed or not self._crew.serving:
            self._admission.check(explicit_version)
        if self._quarantine.held:
            self._quarantine.check(request, now)
        lane, ticket = self._policy.lane(request), self._loop.create_future()
        entry = Entry(request, ticket, now, size_of(request), lane, named=explicit_version, in_parts=in_parts)
        if self.weigher is not None:
            self.weigher.weigh(entry)
        waiting, crew = len(self._queue), self._crew
        try:
            if self._settings.use_job_ticket and waiting >= self.idle():
                raise Full("no idle worker can take it at once (useJobTicket)")
            if patience is not None:
                tempo = self._tempo
                tempo.forget(now)
                tempo.check(waiting, crew.most, crew.busy_for(now, tempo.seconds), patience)
            if (why := self._policy.admit(entry.lane, waiting, crew.views(), now, crew.most)) is not None:
                raise Full(why)
            self._queue.put(entry)
        except Full as full:
            raise self._admission.full(str(full), explicit_version, self._retry_after(now)) from None
        self._observe(Arrived(entry.lane), now)
        self._meter.accepted(explicit_version)
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)
        return ticket

    @functools.cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()  # a system call, and so kept

    def cancel(self, ticket: asyncio.Future[Any]) -> None:
        """The client left: a waiting or prepared request is not computed, a running one's handler can see it.

        Nothing happens if it has been answered.
        """
        ticket.cancel()
        self._queue.left(ticket)
        if not ticket.cancelled() and ticket.exception() is None and isinstance(ticket.result(), Stream):
            ticket.result().close()
        if self._admission.closed:
            asyncio.get_running_loop().call_soon(self._pump)
        if (held := self._crew.holder(ticket)) is not None:
            hands, batch, place = held
            hands.worker.send(encode(Cancel(batch.batch_id, (place,))))
            hands.regulate()

    def _beyond(self) -> int:
        """Places beyond jobQueueSize: those that batches have left, which TorchServe would still fill."""
        if self._pumping:
            self._pump()  # those who came a moment ago may go to idle workers first
        return self._crew.free_places()

    def _retry_after(self, now: float) -> int:
        self._tempo.forget(now)
        return self._tempo.retry_after(len(self._queue), self._crew.most, len(self._crew.serving))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def oldest_wait(self) -> float:
        """Seconds that the oldest request has waited; 0 when none waits."""
        now = time.monotonic()
        return now - (self._queue.oldest() or now)

    def learned(self) -> Mapping[str, float]:
        """What the batching policy has learned."""
        return self._policy.learned()

    def quarantined(self) -> dict[str, Held]:
        """The requests that are refused since they ended two workers, by their digests."""
        return self._quarantine.listed(time.monotonic())

    @property
    def room(self) -> int:
        """Requests that the queue would still take."""
        return max(self._queue.limit - len(self._queue), 0)

    def open(self) -> None:
        """Takes requests again."""
        self._admission.closed = False

    async def close(self) -> None:
        """Refuses new requests from now on; returns when those that were taken are answered."""
        self._admission.closed = True
        while len(self._queue) or self._crew.busy:
            self._emptied.clear()
            await self._emptied.wait()

    def abandon(self, why: Refusal) -> None:
        """There is no time left: all requests, those in hand too, are told so, and none is taken any more."""
        self._admission.closed = True
        self.on_availability(why)
        for entry in self._crew.entries():
            entry.fail(self._admission.unavailable(why))

    def idle(self) -> int:
        """Workers that serve and have nothing in hand."""
        return sum(1 for _ in self._crew.idle())

    # --- batches -----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pumping = False
        now = time.monotonic()
        late = self._expire(now) if self._patience > 0 else math.inf
        while self._queue.again:
            idle = next(self._crew.idle(), None)
            if idle is None:
                return  # what is sent again goes before all others, and alone
            self._send(idle, [self._queue.take_again()])
        while lanes := () if self._crew.full else self._queue.lanes():
            decision = self._decide(View(lanes, self._crew.views()), now)
            if isinstance(decision, Send):
                lane = lanes[0].lane if decision.lane is None else decision.lane
                hands = self._crew.serving[decision.worker_id]
                entries = self._queue.take(lane, min(decision.count, hands.view.most))
                if self.weigher is not None:
                    self._crew.took(len(entries), more=len(self._queue) > 0)
                self._send(hands, entries)
                continue
            if decision is not None:
                self._wake_at(min(decision, late))
            return
        if self._admission.closed and not self._crew.busy:
            self._emptied.set()

    def _send(self, hands: Hands, entries: list[Entry]) -> None:
        if self._quarantine.held:
            entries, copies = self._quarantine.sift(entries, time.monotonic())
            for entry, error in copies:
                self._observe(Left(entry.lane), time.monotonic())
                entry.fail(error)
        if not entries:
            return
        self._next_batch += 1
        batch = InHand(self._next_batch, entries)
        hands.take(batch)
        sent = Sent(hands.worker.worker_id, entries[0].lane, len(entries))
        self._observe(sent, time.monotonic())
        hands.worker.send(*batch_pieces(batch.batch_id, [entry.input for entry in entries]))

    def _wake_at(self, moment: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = asyncio.get_running_loop().call_at(moment, self._pump)

    def _expire(self, now: float) -> float:
        """Fails those who have waited too long; returns when the next one will have."""
        for entry in self._queue.older_than(now - self._patience):
            self._observe(Left(entry.lane), now)
            entry.fail(self._admission.late(self._patience, self._retry_after(now)))
        if (oldest := self._queue.oldest()) is None:
            return math.inf
        self._wake_at(oldest + self._patience)
        return oldest + self._patience

    # --- what the pool reports ---------------------------------------------------------------------------

    def on_ready(self, worker: Worker) -> None:
        """A worker has loaded the model."""
        self._meter.loaded(worker.name, worker.load_seconds)
        timeout = self._settings.response_timeout
        self._crew.join(Hands(worker, timeout, self._on_timeout, self._on_slow))
        self._pump()

    def _on_timeout(self, hands: Hands) -> None:
        patience = self._settings.response_timeout
        hands.worker.kill(f"no answer within {patience:g} s (response timeout, set by responseTimeout)")

    def _on_slow(self, hands: Hands, entry: Entry) -> None:
        request_id = entry.input.request_id
        text = "request %s: its answer is read too slowly, the rest of it is not sent"
        logger.warning(text, request_id, extra={**hands.worker.known, "request_id": request_id})
        self.cancel(entry.ticket)

    def on_message(self, worker: Worker, message: Message, raw: bytes) -> None:
        """A worker answered its running batch, or sent parts of the answers; anything else is ignored."""
        hands = self._crew.find(worker.worker_id)
        if hands is None or not hands.batches:
            return
        running = hands.batches[0].batch_id
        if isinstance(message, Replies) and message.batch_id == running:
            self._answer(hands, message, raw)
        elif isinstance(message, Intermediate) and message.batch_id == running:
            self._forward(hands, message, raw)

    def on_leaving(self, worker: Worker) -> None:
        """A worker was dismissed: it answers what it holds and gets nothing more."""
        self._crew.dismiss(worker.worker_id)

    def on_lost(self, worker: Worker, loss: Loss) -> None:
        """A worker is gone: what it held is sent again or answered with the cause."""
        self._meter.lost(worker.name, loss.replaced)
        if (hands := self._crew.lose(worker.worker_id)) is not None:
            held = hands.drop()
            lost = Lost(worker.worker_id, sum(len(batch.entries) for batch in held))
            self._observe(lost, time.monotonic())
            for batch in reversed(held[1:]):
                self._put_back([entry for entry in batch.entries if not entry.gone])
            if held:
                self._after_death(worker, held[0].entries, loss)
        self._pump()

    def on_availability(self, nobody: Refusal | None) -> None:
        """Whether somebody can be expected to serve; if not, those who wait are told so."""
        self._admission.nobody = nobody
        if nobody is None:
            return
        for entry in self._queue.drain():
            self._observe(Left(entry.lane), time.monotonic())
            entry.fail(self._admission.unavailable(nobody))
        if self._admission.closed:
            self._pump()

    def _after_death(self, worker: Worker, entries: list[Entry], loss: Loss) -> None:
        anybody = not self._admission.closed or bool(self._crew.serving)  # else all workers were sent away
        allowed = self._settings.retry_on_worker_death
        fates = decided(worker, entries, loss, allowed=allowed, anybody=anybody)
        for entry in fates[Fate.QUARANTINED]:
            self._quarantine.put(entry.input, loss.cause, time.monotonic())
        for entry in fates[Fate.QUARANTINED] + fates[Fate.FAILS]:
            entry.fail(WorkerDied(loss.cause, killed=loss.killed, late=loss.late))
        self._put_back(fates[Fate.AGAIN])

    def _put_back(self, entries: list[Entry]) -> None:
        self._queue.put_back(entries)
        for entry in entries:
            self._observe(Arrived(entry.lane), time.monotonic())

    def _forward(self, hands: Hands, message: Intermediate, raw: bytes) -> None:
        hands.arm()
        limit = self._max_response_size
        full = False
        for entry, part in hands.batches[0].told(message.parts, raw, whole=False):
            if not isinstance(part, Reply):
                continue
            entry.add(part)
            if entry.stream is not None and entry.stream.full:
                entry.stream.on_room = hands.regulate
                full = True
            elif entry.joined > limit:
                cause = f"the parts of the answer have more than max_response_size ({limit} bytes) in all"
                entry.fail(PredictionFailed("Prediction failed", status=500, cause=cause))
                self.cancel(entry.ticket)
        if full:
            hands.regulate()

    def _answer(self, hands: Hands, message: Replies, raw: bytes) -> None:
        now = time.monotonic()
        told = hands.batches[0].told(message.replies, raw, whole=True)
        batch = hands.finish(now)
        size = len(batch.entries)
        self._observe(Done(hands.worker.worker_id, size, message.seconds, batch.entries[0].lane), now)
        self._tempo.took(size, now - batch.begun, now)
        self._crew.finished(hands.worker, size, message.too_large)
        hands.worker.uncompiled += message.uncompiled
        meter, streamed = self._meter, False
        meter.batch(size, message.seconds, max(now - batch.begun - message.seconds, 0.0), message.uncompiled)
        arrived: tuple[list[float], list[float]] = ([], [])  # without and with a version in their URLs
        for entry, outcome in told:
            if isinstance(outcome, Reply):
                entry.answer(outcome)
                arrived[entry.named].append(entry.arrived)
                streamed = streamed or entry.stream is not None
            elif isinstance(outcome, Failure):
                entry.fail(PredictionFailed(outcome.message, status=outcome.status, cause=outcome.cause))
        for named, moments in enumerate(arrived):
            if moments:
                queued = [batch.begun - moment for moment in moments]
                meter.answered(bool(named), queued, [now - moment for moment in moments])
        if streamed:
            meter.streamed()
        for sample in message.samples:
            self._record(sample)
        if len(self._queue) or self._admission.closed:
            self._pump()
