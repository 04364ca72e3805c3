"""The workers of one model version: started, watched, replaced, stopped.

A thin shell around the table of lives: it makes processes, arms timers and tells the dispatcher who is ready
and who is lost. It never looks into requests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from torchkeeper.deadlines import WORKER_STOP
from torchkeeper.pool.failures import Failures, log_retry
from torchkeeper.pool.launcher import Launcher
from torchkeeper.pool.life import Event, Life, State
from torchkeeper.pool.plan import Plan
from torchkeeper.pool.sharing import Sharing
from torchkeeper.pool.wear import Wear, worn
from torchkeeper.pool.worker import NOBODY, Loss, Refusal, Worker, WorkerEvents
from torchkeeper.wire.frames import Leaving, Load, Loaded, Message, Stop, WireError, encode
from torchkeeper.wire.messages import ModelSpec

logger = logging.getLogger(__name__)

# Looked up for every batch, and members of an enum are slow to find.
_LEAVING = State.LEAVING
#: Who is missed least goes first when a pool gets smaller.
_USE = {State.READY: 1, State.BUSY: 2}
#: TorchServe's words for a worker that did not answer in time, its exception's name on a line of its own.
_NO_RESPONSE = (
    "Backend worker error\n"
    "org.pytorch.serve.wlm.WorkerInitializationException: Backend worker did not respond in given time"
)


#: Seconds between two looks at how workers wear out.
INSPECTION = 1.0
_MEGABYTE = 10**6


class Pool:
    """Keeps as many workers alive as it was told to."""

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        events: WorkerEvents,
        emit: Callable[[str, str, str], None],
        next_port: Callable[[], int],
    ) -> None:
        self._stopped = False
        self._plan = plan
        self._launcher = launcher
        self._events = events
        self._emit = emit
        self._next_port = next_port
        self._workers: list[Worker] = []
        #: Workers that were scaled down and finish what they hold.
        self._leaving: set[Worker] = set()
        #: Worn workers, and those that load in order to take their places.
        self._substitutes: dict[Worker, Worker] = {}
        self._inspection: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        #: Timeouts since any worker answered last.
        self._unanswered = 0
        #: What is known of those that were lost.
        self.failures = Failures(emit)
        self.sharing = Sharing(plan.label, plan.imports_apart, plan.weights_apart)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The places of the pool, with their states."""
        return tuple(self._workers)

    @property
    def trouble(self) -> str | None:
        """Why workers that were lost have not come back, where that is so."""
        return next((worker.life.last_cause for worker in self._workers if worker.recovering), None)

    def scale(self, specs: Sequence[ModelSpec]) -> None:
        """Makes the pool as large as `specs`: new places get the specs at the end, surplus workers leave.

        A worker that leaves answers what it holds; those that do not serve yet go first, then idle ones.
        """
        surplus = len(self._workers) - len(specs)
        if surplus > 0:
            by_use = sorted(self._workers, key=lambda worker: _USE.get(worker.life.state, 0))
            for worker in by_use[:surplus]:
                self._dismiss(worker)
        for spec in specs[len(self._workers) :]:
            self._workers.append(self._new(spec))
        if self._inspection is None and self._workers:
            self._inspect()
        self._notify()

    def _new(self, spec: ModelSpec) -> Worker:
        """A worker that is about to load."""
        life = Life(self._plan.settings.max_retry_timeout)
        worker = Worker(next(self._numbers), spec, life, self._kill)
        self._begin(worker)
        return worker

    async def settled(self) -> str | None:
        """Waits until all workers serve and surplus ones have left (None), or one has failed (its cause)."""
        while True:
            if self._stopped:
                return "the model was unregistered meanwhile"
            for worker in self._workers:
                if worker.life.failures:
                    return worker.life.last_cause or "the worker could not load the model"
            loaded = all(worker.life.state in (State.READY, State.BUSY) for worker in self._workers)
            if loaded and not self._leaving:
                return None
            await self._changed.wait()

    def _notify(self) -> None:
        """Tells those who wait for the pool, and those who use it, that it has changed."""
        if not self._workers and not self._leaving:
            self.sharing.rest()
        self._events.on_availability(self._nobody())
        self._changed.set()
        self._changed = asyncio.Event()

    def _dismiss(self, worker: Worker) -> None:
        """Sends a worker away: it answers what it holds, and then has a grace to end in."""
        substitute = self._substitutes.pop(worker, None)
        if substitute is not None:
            self._dismiss(substitute)
        if worker in self._workers:
            self._workers.remove(worker)
        self._cancel_timers(worker)
        loading = worker.life.state is State.LOADING
        if worker.life.on(Event.STOP, asyncio.get_running_loop().time()) is State.STOPPED:
            if worker.launch is not None:
                worker.launch.cancel()
            worker.ended.set()
            return
        self._leaving.add(worker)
        self._events.on_leaving(worker)
        worker.send(encode(Stop()))
        if loading and worker.process is not None:
            worker.process.terminate()  # it reads no orders until it has loaded
        self._limit(worker)

    def _limit(self, worker: Worker) -> None:
        """Counts the grace of a worker that has nothing more in hand."""
        if worker.life.state is _LEAVING and worker.grace is None:
            worker.grace = asyncio.get_running_loop().call_later(WORKER_STOP, self._grace_over, worker)

    def _grace_over(self, worker: Worker) -> None:
        text = "%s did not end within %g s of being told to; it is killed"
        logger.warning(text, worker.name, WORKER_STOP, extra=worker.known)
        if worker.process is not None:
            worker.process.kill()

    def _nobody(self) -> Refusal | None:
        """None while some worker serves or may soon; else why not."""
        if any(worker.life.hopeful for worker in self._workers):
            return None
        if not self._workers:
            return NOBODY
        dues = [worker.life.due for worker in self._workers if worker.life.due is not None]
        causes = [worker.life.last_cause for worker in self._workers if worker.life.last_cause]
        why = f"no worker could be started: {causes[-1] if causes else 'unknown'}"
        return Refusal(why, min(dues, default=None))

    def _kill(self, worker: Worker, why: str) -> None:
        """Ends a worker that does not answer; it is replaced."""
        worker.verdict = why
        self._unanswered += 1
        logger.warning("%s: %s; the worker is killed and replaced", worker.name, why, extra=worker.known)
        logger.error("Number or consecutive unsuccessful inference %d", self._unanswered, extra=worker.known)
        logger.error("%s", _NO_RESPONSE, extra=worker.known)
        if worker.process is not None:
            worker.process.kill_soon()

    async def stop(self, deadline: float) -> bool:
        """Dismisses all workers; those that do not end within `deadline` seconds are killed (then False).

        A killed worker's end is told in time, whatever becomes of the process: nothing makes this longer.
        """
        self._stopped = True
        if self._inspection is not None:
            self._inspection.cancel()
        self.scale(())
        leaving = list(self._leaving)
        try:
            async with asyncio.timeout(deadline):
                for worker in leaving:
                    await worker.ended.wait()
        except TimeoutError:
            for worker in leaving:
                if worker.process is not None:
                    worker.process.kill()
            for worker in leaving:
                await worker.ended.wait()
            return False
        return True

    # --- wear --------------------------------------------------------------------------------------------

    def growth(self) -> float | None:
        """Bytes per request by which the memory of the worker grows that grows most; None: nobody knows."""
        known = (worker.wear.growth() for worker in self._workers)
        return max((growth for growth in known if growth is not None), default=None)

    def _inspect(self) -> None:
        """Looks at how the workers wear out, now and then; a worn one is replaced."""
        settings = self._plan.settings
        bounds = {
            "most_requests": settings.max_requests_per_worker,
            "most_resident": settings.max_worker_rss * _MEGABYTE,
        }
        for worker in tuple(self._workers):
            if worker.life.state not in (State.READY, State.BUSY) or worker in self._substitutes:
                continue
            resident = worker.resident
            worker.wear.sample(worker.answered, resident)
            loaded = worker.wear.loaded
            if (why := worn(worker.answered, resident, loaded=loaded, **bounds)) is not None:
                logger.info("%s is replaced: %s", worker.name, why, extra=worker.known)
                self._substitutes[worker] = self._new(worker.spec)
        self._inspection = asyncio.get_running_loop().call_later(INSPECTION, self._inspect)

    def _check_bound(self, worker: Worker) -> None:
        """Says of a bound that loading alone takes a worker beyond: no other worker would do better."""
        bound, loaded = self._plan.settings.max_worker_rss, worker.wear.loaded
        if 0 < bound * _MEGABYTE < loaded:
            text = (
                "%s holds %.0f MB with the model loaded, more than maxWorkerRss (%d MB), which has no effect"
            )
            logger.warning(text, worker.name, loaded / _MEGABYTE, bound, extra=worker.known)

    def _take_over(self, substitute: Worker) -> None:
        """A worker that has loaded in another one's stead gets its place; that one answers what it holds."""
        for worn_one, other in self._substitutes.items():
            if other is substitute:
                del self._substitutes[worn_one]
                self._workers.insert(self._workers.index(worn_one), substitute)
                self._dismiss(worn_one)
                return

    # --- starting ----------------------------------------------------------------------------------------

    def _begin(self, worker: Worker) -> None:
        worker.number = self._next_port()
        worker.name = f"W-{worker.number}-{self._plan.label}"
        worker.verdict = worker.last_words = worker.confinement = None
        worker.answered, worker.uncompiled, worker.wear = 0, 0, Wear()
        worker.started_at = time.time()
        self.failures.watch(worker)
        worker.ended.clear()
        worker.launch = asyncio.get_running_loop().create_task(self._launch(worker))

    async def _launch(self, worker: Worker) -> None:
        try:
            order = Load(worker.spec, self._plan.max_response_size)
            encode(order)  # which may fail, and then no process is needed
            launch = self._plan.launch.for_worker(worker.spec, self.sharing)
            process = await self._launcher.launch(_Reports(self, worker), launch)
        except Exception as error:  # noqa: BLE001 - archives may hold what no frame can
            why = str(error) if isinstance(error, OSError) else repr(error)
            self._after_exit(worker, f"no process could be started: {why}")
            return
        if not process.alive:
            return
        worker.process = process
        loop = asyncio.get_running_loop()
        worker.life.on(Event.SPAWNED, loop.time())
        process.send(encode(msgspec.structs.replace(order, shares_weights=self.sharing.with_weights)))
        worker.startup = loop.call_later(self._plan.settings.startup_timeout, self._startup_expired, worker)

    def _startup_expired(self, worker: Worker) -> None:
        worker.startup = None
        timeout = self._plan.settings.startup_timeout
        self._kill(
            worker, f"the model was not loaded within {timeout:g} s (startup timeout, set by startupTimeout)"
        )

    # --- what a process reports --------------------------------------------------------------------------

    def on_frame(self, worker: Worker, message: Message, raw: bytes) -> None:
        """A frame of a worker: load reports are ours, the rest is the dispatcher's.

        One whose process has ended may have said something before: it is heard, and gets nothing more.

        Raises:
            WireError: it cannot say that now.
        """
        gone = worker.process is not None and not worker.process.alive
        if gone:
            self._events.on_leaving(worker)
        if isinstance(message, Loaded):
            if not gone:
                self._loaded(worker, message)
        elif isinstance(message, Leaving):
            worker.last_words = message
        else:
            self._unanswered = 0
            self._events.on_message(worker, message, raw)
            self._limit(worker)

    def on_line(self, worker: Worker, stream: str, line: str) -> None:
        """A line that a worker printed."""
        worker.printed(stream, line)
        self._emit(worker.name, stream, line)

    def on_exit(self, worker: Worker, returncode: int | None, fault: str | None) -> None:
        """A worker's process has ended; `fault` is what it did wrong on its channel."""
        process, worker.process = worker.process, None
        if worker.life.state is State.STOPPED:
            return  # sent away just before it had begun: nobody waits for it
        dossier = self.failures.examine(worker, process, returncode, fault)
        if worker.life.state is not _LEAVING and not self._stopped:
            self.failures.keep(worker, dossier)
        self._after_exit(worker, dossier.outward, killed=dossier.killed, crashed=dossier.crashed)

    def _loaded(self, worker: Worker, message: Loaded) -> None:
        if worker.life.state not in (State.LOADING, _LEAVING):
            raise WireError("a model loaded that it was not told to load")
        if worker.life.on(Event.LOADED, asyncio.get_running_loop().time()) is not State.READY:
            return  # dismissed while it loaded: the order to stop is in its channel already
        self._cancel_timers(worker)
        self.failures.overcome()
        took, pid = message.seconds, message.pid
        logger.info("%s: model loaded in %.3f s (pid %d)", worker.name, took, pid, extra=worker.known)
        if worker.recovering:
            worker.recovering = False
            logger.info("Auto recovery succeeded, reset recoveryStartTS", extra=worker.known)
        worker.load_seconds = took
        worker.wear = Wear(worker.resident)
        self._check_bound(worker)
        worker.signature, worker.torch = message.signature, message.torch
        worker.confinement, worker.execution = message.confinement, message.execution
        worker.together = message.together
        self._launcher.tell(message.confinement, worker.name, worker.known)
        self._events.on_ready(worker)
        self._take_over(worker)
        self._notify()

    def _after_exit(self, worker: Worker, cause: str, *, killed: bool = False, crashed: bool = False) -> None:
        self._cancel_timers(worker)
        loop = asyncio.get_running_loop()
        now = loop.time()
        state = worker.life.on(Event.EXITED, now, cause)
        replaced = state is not State.STOPPED
        timed_out = worker.verdict is not None
        late = timed_out and self._plan.strict_statuses
        loss = Loss(cause, killed, timed_out, crashed=crashed, replaced=replaced, late=late)
        worker.ended.set()
        if replaced:
            due = worker.life.due or now
            log_retry(worker, cause, round(due - now))
            worker.retry = loop.call_at(due, self._again, worker)
        else:
            self._leaving.discard(worker)
        self._events.on_lost(worker, loss)
        self._notify()

    def _again(self, worker: Worker) -> None:
        worker.retry = None
        worker.life.on(Event.DUE, asyncio.get_running_loop().time())
        self._begin(worker)
        self._notify()

    @staticmethod
    def _cancel_timers(worker: Worker) -> None:
        for timer in (worker.startup, worker.retry, worker.grace):
            if timer is not None:
                timer.cancel()
        worker.startup = worker.retry = worker.grace = None


class _Reports:
    """What one worker's process reports, on its way to the pool (`pool.process.Owner`)."""

    def __init__(self, pool: Pool, worker: Worker) -> None:
        self._pool = pool
        self._worker = worker

    def on_frame(self, message: Message, raw: bytes) -> None:
        self._pool.on_frame(self._worker, message, raw)

    def on_line(self, stream: str, line: str) -> None:
        self._pool.on_line(self._worker, stream, line)

    def on_exit(self, returncode: int | None, fault: str | None) -> None:
        self._pool.on_exit(self._worker, returncode, fault)
