"""The dispatcher with its queue and policies, whatever happens in whatever order.

Clients ask and leave, workers come, answer, send parts, are dismissed and die, each in its way. All the while
nothing is lost, nothing is in two places or tried a third time, bounds hold, lanes keep their order, and in
the end each request has one answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stand_ins import DEATH, Dispatching, read, turns  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.greedy import PREPARE_BELOW
from torchkeeper.engine.batching.policies import make_policy
from torchkeeper.engine.batching.policy import Arrived, Done, Lane, Left, Sent
from torchkeeper.engine.stream import Closed, Stream
from torchkeeper.errors import PredictionFailed, QueueFull, WorkerDied
from torchkeeper.pool.worker import Loss
from torchkeeper.wire.messages import Failure, Kind

KINDS = st.sampled_from([Kind.PREDICT, Kind.PREDICT, Kind.EXPLAIN, Kind.DESCRIBE])
PLACES = st.integers(0, 9)
#: How workers die: ended from outside, by what they computed, or because they did not answer.
LOSSES = st.sampled_from(
    [
        DEATH,
        *[Loss("signal 11 (SIGSEGV)", killed=False, timed_out=False, crashed=True)] * 2,
        Loss("no answer within 1 s", killed=True, timed_out=True),
    ]
)


@dataclass
class Asked:
    """A request as its client knows it."""

    ticket: asyncio.Future[Any]
    kind: Kind
    in_parts: bool
    left: bool = False
    #: Parts that were sent of its answer, since it was sent to a worker last.
    parts: int = 0


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.asked: dict[str, Asked] = {}
        #: What each living worker holds, the running batch first; the number of the last batch that was sent.
        self.held: dict[int, list[list[str]]] = {}
        self.seen = 0
        #: How many workers died over a request, how many of them by its doing, and who died of a hang.
        self.deaths: dict[str, int] = {}
        self.crashes: dict[str, int] = {}
        self.hung: set[str] = set()

    def do(self, what: Callable[[], Any]) -> Any:
        """Runs something on the event loop, and all that follows from it."""

        async def run() -> Any:
            result = what()
            await turns()
            return result

        result = self.loop.run_until_complete(run())
        sent = [
            (number, place, [request.request_id for request in batch])
            for place in self.held
            for number, batch in self.work.channel(place).batches
            if number > self.seen
        ]
        for number, place, batch in sorted(sent):
            self.seen = number
            self.held[place].append(batch)
            self.check(batch)
        return result

    def check(self, batch: list[str]) -> None:
        """A batch as it is sent."""
        (kind,) = {self.asked[name].kind for name in batch}
        assert 1 <= len(batch) <= (1 if kind is Kind.DESCRIBE else self.batch_size)
        assert not any(self.asked[name].left for name in batch)
        if any(name in self.deaths for name in batch):
            assert len(batch) == 1, "a second try goes alone"
            assert self.deaths[batch[0]] == 1, "there is no third"
            return
        lane = [name for name in self.waiting() if self.asked[name].kind is kind and name not in self.deaths]
        assert [*batch, *lane] == sorted([*batch, *lane]), "a lane keeps its order"

    def waiting(self) -> list[str]:
        """Requests that nobody holds or has answered, oldest first."""
        held = {name for batches in self.held.values() for batch in batches for name in batch}
        return [name for name, asked in self.asked.items() if not asked.ticket.done() and name not in held]

    # --- what happens ------------------------------------------------------------------------------------

    @initialize(
        size=st.integers(1, 4),
        limit=st.integers(1, 12),
        name=st.sampled_from(["adaptive", "greedy", "delay"]),
    )
    def begin(self, size: int, limit: int, name: str) -> None:
        self.batch_size, self.limit = size, limit
        policy = make_policy(ModelSettings(batch_policy=name, batch_size=size, max_batch_delay=0))
        policy.observe(Done(0, 1, PREPARE_BELOW / 2, "lane"), 0.0)
        self.work: Dispatching = self.do(
            lambda: Dispatching(workers=0, batch_size=size, limit=limit, policy=policy)
        )

    @rule(kind=KINDS, in_parts=st.booleans(), count=st.integers(1, 6))
    def ask(self, kind: Kind, in_parts: bool, count: int) -> None:
        def ask() -> None:
            for _ in range(count):
                name, waiting = f"{len(self.asked):03}", self.work.dispatcher.waiting
                try:
                    self.asked[name] = Asked(self.work.ask(name, kind, in_parts=in_parts), kind, in_parts)
                except QueueFull:
                    assert min(waiting, self.work.dispatcher.waiting) >= self.limit

        self.do(ask)

    @precondition(lambda self: len(self.held) < 3)
    @rule()
    def hire(self) -> None:
        place = len(self.work.workers)
        self.held[place] = []
        self.do(self.work.hire)

    @precondition(lambda self: any(self.held.values()))
    @rule(pick=PLACES, fails=st.booleans())
    def answer(self, pick: int, fails: bool) -> None:
        place = self.busy(pick)
        batch = self.held[place].pop(0)
        failure = Failure(503, "Prediction failed", None)
        outcomes = [failure if fails and not self.asked[name].left else name.encode() for name in batch]
        self.do(lambda: self.work.answer(*outcomes, place=place))
        assert all(self.asked[name].ticket.done() for name in batch)

    @precondition(lambda self: any(self.held.values()))
    @rule(pick=PLACES)
    def part(self, pick: int) -> None:
        place = self.busy(pick)
        batch = self.held[place][0]
        self.do(lambda: self.work.parts(*(name.encode() for name in batch), place=place))
        for name in batch:
            self.asked[name].parts += 1

    @precondition(lambda self: bool(self.held))
    @rule(pick=PLACES, loss=LOSSES)
    def die(self, pick: int, loss: Loss) -> None:
        self.lose(self.alive(pick), loss)

    @precondition(lambda self: bool(self.suspects()))
    @rule(pick=PLACES, loss=LOSSES)
    def die_of_who_is_tried_again(self, pick: int, loss: Loss) -> None:
        """What chance alone would seldom find."""
        places = self.suspects()
        self.lose(places[pick % len(places)], loss)

    def suspects(self) -> list[int]:
        """Who holds a request over which a worker died before."""
        return [place for place, batches in self.held.items() if batches and batches[0][0] in self.deaths]

    def lose(self, place: int, loss: Loss) -> None:
        running = (self.held.pop(place) or [[]])[0]
        for name in running:
            asked = self.asked[name]
            died_before, began = name in self.deaths, asked.in_parts and asked.parts > 0
            self.deaths[name] = self.deaths.get(name, 0) + 1
            if loss.timed_out:
                self.hung.add(name)
            elif loss.crashed and not asked.left and not (began and not died_before):
                self.crashes[name] = self.crashes.get(name, 0) + 1
            asked.parts = 0
            asked.left = asked.left or died_before or began or loss.timed_out
        self.do(lambda: self.work.die(place, loss))
        for name in running:
            assert self.asked[name].ticket.done() or not self.asked[name].left

    @precondition(lambda self: bool(self.held))
    @rule(pick=PLACES)
    def dismiss(self, pick: int) -> None:
        place = self.alive(pick)
        worker = self.work.workers[place][0]
        if worker.life.state.value in ("ready", "busy"):
            self.do(lambda: self.work.dismiss(place))

    @precondition(lambda self: bool(self.asked))
    @rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        asked = list(self.asked.values())[pick % len(self.asked)]
        self.do(lambda: self.work.dispatcher.cancel(asked.ticket))
        asked.left = True

    def alive(self, pick: int) -> int:
        """Rather one of those that hold much."""
        places = sorted(self.held, key=lambda place: -len(self.held[place]))
        return places[pick // 4 % len(places)]

    def busy(self, pick: int) -> int:
        places = [place for place, batches in self.held.items() if batches]
        return places[pick % len(places)]

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_in_two_places(self) -> None:
        held = [name for batches in self.held.values() for batch in batches for name in batch]
        assert len(held) == len(set(held))
        if self.asked:
            assert self.work.dispatcher.waiting >= len(self.waiting())

    @invariant()
    def bounds_hold(self) -> None:
        assert all(len(batches) <= 2 for batches in self.held.values())

    @invariant()
    def the_policy_knows_what_waits(self) -> None:
        if not hasattr(self, "work"):
            return
        waiting: Counter[Lane] = Counter()
        for event in self.work.policy.events:
            if isinstance(event, Arrived):
                waiting[event.lane] += 1
            elif isinstance(event, Left):
                waiting[event.lane] -= 1
            elif isinstance(event, Sent):
                waiting[event.lane] -= event.count
        assert all(count >= 0 for count in waiting.values())
        assert sum(waiting.values()) == self.work.dispatcher.waiting

    @invariant()
    def who_crashed_two_workers_alone_is_quarantined_and_nobody_else(self) -> None:
        if hasattr(self, "work"):
            guilty = [name for name, crashes in self.crashes.items() if crashes == 2]
            assert len(self.work.dispatcher.quarantined()) == len(guilty)

    def teardown(self) -> None:
        """Everybody who is left is answered, and the dispatcher can close."""
        try:
            if hasattr(self, "work"):
                self.finish()
        finally:
            self.loop.close()

    def finish(self) -> None:
        self.hire()
        closing = self.do(lambda: self.loop.create_task(self.work.dispatcher.close()))
        while any(self.held.values()):
            self.answer(0, fails=False)
        assert closing.done()
        for name, asked in self.asked.items():
            assert asked.ticket.done()
            if asked.ticket.cancelled():
                assert asked.left
            elif isinstance(error := asked.ticket.exception(), WorkerDied):
                assert self.deaths[name] == 2 or name in self.hung
            elif error is None:
                answer = asked.ticket.result()
                if isinstance(answer, Stream):
                    stream = answer
                    reading = self.do(lambda stream=stream: self.loop.create_task(read(stream)))
                    assert isinstance(reading.exception(), Closed | PredictionFailed | WorkerDied | None)
                else:
                    assert answer.body == name.encode() * (asked.parts + 1)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
