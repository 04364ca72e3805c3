"""The pool over workers that are no processes, whatever happens in whatever order.

It is scaled; workers load, fail to, say nothing, are worn out, do not answer, do not leave, die, or cannot be
made at all, at once or late. No process is ever lost track of, no place starts more often than it may, who
uses the pool is told the truth, and once all is well again every place serves.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.stand_in import Clock, StandInLauncher, StandInProcess
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.pool.launcher import Launch
from torchkeeper.pool.life import PROBE, State
from torchkeeper.pool.plan import Plan
from torchkeeper.pool.pool import Pool
from torchkeeper.pool.process import Owner
from torchkeeper.pool.worker import NOBODY, Loss, Refusal, Worker
from torchkeeper.wire.frames import Message, Replies, encode_batch
from torchkeeper.wire.messages import Input, Kind, ModelSpec, Part

SPEC = ModelSpec("m", "1.0", "/nowhere", {}, "h.py", None, None, 1, None)
#: Seconds between the attempts of a place that fails, TorchServe's.
DELAYS = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)
#: Requests after which a worker is worn; seconds in which it must load, and fail before it is given up.
WORN, STARTUP, PATIENCE = 3, 20.0, 30.0
SERVES = (State.READY, State.BUSY)
PLACES = st.integers(0, 9)


class Forks(StandInLauncher):
    """Makes workers at once, late, dead or not at all; some do not leave when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.how = "well"
        self.stubborn = False
        self.gate = asyncio.Event()
        self.gate.set()
        #: When each place may start next, and how often in a row it failed, since when.
        self.earliest: dict[int, float] = {}
        self.failed: dict[int, tuple[int, float]] = {}

    async def launch(self, owner: Owner, launch: Launch) -> Any:
        place: Worker = owner._worker  # type: ignore[attr-defined]
        now = asyncio.get_running_loop().time()
        assert now >= self.earliest.pop(place.worker_id, now), "it starts before its time"
        await self.gate.wait()
        if self.how == "not at all":
            raise OSError("no process can be made")
        process = Stubborn(self, owner) if self.stubborn else StandInProcess(self, owner)
        self.processes.append(process)
        if self.how == "dead":
            process.end(1)
        return process

    def lost(self, place: Worker, *, served: bool) -> None:
        """A worker is gone whose place is filled again."""
        now = asyncio.get_running_loop().time()
        if served:
            self.earliest[place.worker_id] = now
            return
        times, since = self.failed.get(place.worker_id, (0, now))
        self.failed[place.worker_id] = (times + 1, since)
        given_up = now - since >= PATIENCE
        self.earliest[place.worker_id] = now + (PROBE if given_up else DELAYS[min(times, 16)])


class Stubborn(StandInProcess):
    """Ends only when it is killed."""

    def _leave(self) -> None: ...


class User:
    """In the dispatcher's place: what it was told, each word of which must fit what it was told before."""

    def __init__(self, forks: Forks) -> None:
        self.forks = forks
        self.pool: Pool
        self.nobody: Refusal | None = NOBODY
        self.serving: set[Worker] = set()
        self.leaving: set[Worker] = set()
        self.gone: set[Worker] = set()
        self.newest: Worker | None = None
        #: Whether workers are sent away because fewer are wanted.
        self.scaling = False

    def on_ready(self, worker: Worker) -> None:
        assert worker.life.state is State.READY
        assert worker not in self.serving | self.leaving | self.gone
        self.forks.failed.pop(worker.worker_id, None)
        self.serving.add(worker)
        self.newest = worker

    def on_leaving(self, worker: Worker) -> None:
        assert worker not in self.gone
        if not self.scaling and worker in self.serving:
            assert self.newest in self.pool.workers, "nobody leaves before who comes instead"
        self.serving.discard(worker)
        self.leaving.add(worker)

    def on_message(self, worker: Worker, message: Message, raw: bytes) -> None:
        assert worker not in self.gone
        assert isinstance(message, Replies)
        worker.answered += len(message.replies)
        worker.freed()

    def on_lost(self, worker: Worker, loss: Loss) -> None:
        assert worker not in self.gone
        assert loss.replaced != (worker in self.leaving)
        if loss.replaced:
            self.forks.lost(worker, served=worker in self.serving)
        else:
            self.gone.add(worker)
        self.serving.discard(worker)
        self.leaving.discard(worker)

    def on_availability(self, nobody: Refusal | None) -> None:
        self.nobody = nobody


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Clock()
        self.loop.set_exception_handler(lambda _, context: self.broken.append(context))
        #: What was raised where nobody waits for it.
        self.broken: list[dict[str, Any]] = []
        self.forks = Forks()
        self.user = User(self.forks)
        ports = itertools.count(9000)
        worn = ModelSettings(
            startup_timeout=STARTUP, max_retry_timeout=PATIENCE, max_requests_per_worker=WORN
        )
        plan = Plan("m_1.0", worn, 1000, Launch("m", None, {}, from_template=False))
        forks: Any = self.forks
        self.pool = Pool(plan, forks, self.user, lambda *line: None, lambda: next(ports))
        self.user.pool = self.pool
        self.wanted = 0

    def do(self, what: Callable[[], object]) -> Any:
        """Does something on the event loop, and what follows from it soon."""

        async def run() -> Any:
            result = what()
            for _ in range(10):
                await asyncio.sleep(0)
            return result

        result = self.loop.run_until_complete(run())
        for context in self.broken:
            raise AssertionError(context["message"]) from context.get("exception")
        return result

    def one(self, place: int, *states: State) -> list[Worker]:
        """The worker at that place among those in these states."""
        there = [worker for worker in self.pool.workers if worker.life.state in states]
        return [there[place % len(there)]] if there else []

    # --- what happens ------------------------------------------------------------------------------------

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.scale(count, busy=False)

    @rule(count=st.integers(0, 3), busy=st.booleans())
    def scale(self, count: int, busy: bool) -> None:
        def scale() -> None:
            self.user.scaling = True
            self.pool.scale([SPEC] * count)
            self.user.scaling = False

        if busy:
            self.hand_all()
        self.wanted = count
        self.do(scale)

    @rule(how=st.sampled_from(["well", "well", "not at all", "dead"]), stubborn=st.booleans())
    def workers_are_made(self, how: str, stubborn: bool) -> None:
        self.forks.how, self.forks.stubborn = how, stubborn

    @rule(open=st.booleans())
    def workers_are_made_at_once_or_late(self, open: bool) -> None:
        self.do(self.forks.gate.set if open else self.forks.gate.clear)

    @rule(says=st.sampled_from([None, None, "", "no such module"]))
    def load(self, says: str | None) -> None:
        self.forks.load_error = says
        self.do(lambda: [process.load() for process in self.forks.living])

    @rule(place=PLACES)
    def hand(self, place: int) -> None:
        def hand() -> None:
            for worker in self.one(place, State.READY):
                worker.took()
                worker.send(encode_batch(1, [Input("r", Kind.PREDICT, (Part("body", b""),), {})]))

        self.do(hand)

    def hand_all(self) -> None:
        for _ in self.pool.workers:
            self.hand(0)

    @rule()
    def answer(self) -> None:
        self.do(lambda: [process.answer() for process in self.forks.living])

    @rule()
    def wear(self) -> None:
        """Each worker that serves answers a request, and another, until it is worn."""
        for _ in range(WORN):
            self.hand_all()
            self.answer()
        self.time_passes(1.0)

    @rule(place=PLACES)
    def hang(self, place: int) -> None:
        for worker in self.one(place, State.BUSY):
            self.do(lambda worker=worker: worker.kill("no answer"))

    @precondition(lambda self: bool(self.forks.living))
    @rule(place=PLACES, code=st.sampled_from([0, 1, -9, -11]))
    def die(self, place: int, code: int) -> None:
        living = self.forks.living
        self.do(lambda: living[place % len(living)].end(code))

    @rule(seconds=st.sampled_from([1.0, 1.0, 5.0, STARTUP, PROBE]))
    def time_passes(self, seconds: float) -> None:
        self.loop.ahead += seconds
        self.do(lambda: None)

    @rule()
    def nothing_loads_for_long(self) -> None:
        """The usual course of a model that cannot be loaded, which chance alone would seldom find."""
        self.load("no such module")
        for seconds in DELAYS[:8]:
            self.time_passes(seconds)

    # --- what always holds -------------------------------------------------------------------------------

    def known(self) -> set[Worker]:
        """All whom the pool keeps track of."""
        return {*self.pool.workers, *self.pool._leaving, *self.pool._substitutes.values()}

    @invariant()
    def there_are_as_many_places_as_were_asked_for(self) -> None:
        assert len(self.pool.workers) == self.wanted
        assert len(set(self.pool.workers)) == self.wanted

    @invariant()
    def no_process_is_lost_track_of(self) -> None:
        owned = {id(worker.process) for worker in self.known() if worker.process is not None}
        assert {id(process) for process in self.forks.living} <= owned
        assert not self.known() & self.user.gone
        assert self.user.leaving <= self.pool._leaving

    @invariant()
    def a_place_has_a_process_or_gets_one_or_knows_when(self) -> None:
        for worker in (*self.pool.workers, *self.pool._substitutes.values()):
            state = worker.life.state
            assert state not in (State.DRAINING, State.LEAVING, State.STOPPED)
            if state is State.STARTING:
                assert worker.launch is not None
                assert not worker.launch.done()
            elif state in (State.BACKING_OFF, State.GIVEN_UP):
                assert worker.process is None
                assert worker.retry is not None
                assert worker.startup is None
            else:
                assert worker.process is not None
                assert worker.process.alive
                assert (worker.startup is not None) == (state is State.LOADING)

    @invariant()
    def who_uses_it_knows_who_serves_and_whether_anybody_will(self) -> None:
        assert self.user.serving == {each for each in self.pool.workers if each.life.state in SERVES}
        hopeful = any(worker.life.hopeful for worker in self.pool.workers)
        assert (self.user.nobody is None) == hopeful
        if self.user.nobody is not None and self.pool.workers:
            assert self.user.nobody.due is not None

    @invariant()
    def who_comes_instead_of_a_worn_one_has_its_place_to_come_to(self) -> None:
        for worn, other in self.pool._substitutes.items():
            assert worn in self.pool.workers
            assert other not in self.pool.workers
            assert other.life.state not in SERVES

    # --- rest --------------------------------------------------------------------------------------------

    @rule()
    def rest(self) -> None:
        """All is well for long enough."""
        self.workers_are_made("well", False)
        self.workers_are_made_at_once_or_late(True)
        for _ in range(100):
            if self.is_quiet():
                break
            self.load(None)
            self.answer()
            self.time_passes(10.0)
        assert self.is_quiet()
        assert len(self.forks.living) == self.wanted

    def is_quiet(self) -> bool:
        serve = all(worker.life.state is State.READY for worker in self.pool.workers)
        worn = any(worker.answered >= WORN for worker in self.pool.workers)
        return serve and not worn and not self.pool._leaving and not self.pool._substitutes

    def teardown(self) -> None:
        """All are sent away, whatever they do, and nobody comes again."""
        try:
            self.stop()
        finally:
            self.loop.close()

    def stop(self) -> None:
        def stop() -> asyncio.Task[bool]:
            self.user.scaling = True
            return self.loop.create_task(self.pool.stop(5.0))

        self.hand_all()
        stopping = self.do(stop)
        self.wanted = 0
        self.time_passes(5.0)
        assert stopping.done()
        assert self.forks.living == []
        made = len(self.forks.processes)
        self.workers_are_made_at_once_or_late(True)
        self.time_passes(2 * DELAYS[-1])
        assert len(self.forks.processes) == made
        assert self.user.serving == self.user.leaving == set()
        assert not [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert stopping.result() or made


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
