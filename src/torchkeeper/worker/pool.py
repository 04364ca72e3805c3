"""The workers of one model version: started, watched, replaced, stopped.

A thin shell around `worker.supervisor`: it makes processes, arms timers and tells the dispatcher who is
ready and who is lost. It never looks into requests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torchkeeper.deadlines import WORKER_STOP
from torchkeeper.messages import ModelSpec
from torchkeeper.worker.launcher import Launch, Launcher
from torchkeeper.worker.process import WorkerProcess
from torchkeeper.worker.supervisor import Event, Life, State
from torchkeeper.worker.wire import Load, Loaded, LoadFailed, Message, Stop, encode

logger = logging.getLogger(__name__)

#: Who is missed least goes first when a pool gets smaller.
_USE = {State.READY: 1, State.BUSY: 2}
#: TorchServe's words for a worker that did not answer in time, its exception's name on a line of its own.
_NO_RESPONSE = (
    "Backend worker error\n"
    "org.pytorch.serve.wlm.WorkerInitializationException: Backend worker did not respond in given time"
)


@dataclass(frozen=True)
class Loss:
    """How a worker was lost."""

    cause: str
    killed: bool
    timed_out: bool


@dataclass(frozen=True)
class Refusal:
    """Why nobody can be expected to serve now, and when to come again (seconds)."""

    cause: str
    retry_after: int


@dataclass(frozen=True)
class Plan:
    """What the pool needs to know of a model version; times in seconds."""

    label: str
    startup_timeout: float
    give_up_after: float
    max_response_size: int
    launch: Launch


class Listener(Protocol):
    """Who uses the workers: the dispatcher."""

    def on_ready(self, worker: Worker) -> None:
        """The worker has loaded the model."""

    def on_message(self, worker: Worker, message: Message, raw: bytes) -> None:
        """The worker sent something about a batch."""

    def on_leaving(self, worker: Worker) -> None:
        """The worker finishes what it holds and then leaves."""

    def on_lost(self, worker: Worker, loss: Loss) -> None:
        """The worker is gone."""

    def on_availability(self) -> None:
        """`Pool.hope` may have changed."""


class Worker:
    """A place in the pool; the process in it may be replaced, the name changes with it."""

    def __init__(self, worker_id: int, spec: ModelSpec, life: Life) -> None:
        self.worker_id = worker_id
        self.spec = spec
        self.life = life
        #: TorchServe's port number, which here is only a name.
        self.number = 0
        self.name = ""
        self.process: WorkerProcess | None = None
        #: The making of its process.
        self.launch: asyncio.Task[None] | None = None
        self.startup: asyncio.TimerHandle | None = None
        self.retry: asyncio.TimerHandle | None = None
        #: The end of the time in which it may leave by itself.
        self.grace: asyncio.TimerHandle | None = None
        self.verdict: str | None = None
        self.load_error: str | None = None
        self.started_at = time.time()
        #: Whether its process was lost and no other has loaded the model since.
        self.recovering = False
        #: Seconds that loading the model took.
        self.load_seconds = 0.0
        self.ended = asyncio.Event()

    @property
    def known(self) -> dict[str, str]:
        """What a log line about this worker says beside its text."""
        return {"worker": self.name, "model": self.spec.name}

    def send(self, frame: bytes) -> None:
        """Hands a frame to the process, if there is one."""
        if self.process is not None:
            self.process.send(frame)

    def hold(self) -> None:
        """Reads nothing of what it sends, until `let_on`; it will have to wait with it."""
        if self.process is not None:
            self.process.hold()

    def let_on(self) -> None:
        """Reads again."""
        if self.process is not None:
            self.process.let_on()


class Pool:
    """Keeps as many workers alive as it was told to."""

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        listener: Listener,
        emit: Callable[[str, str, str], None],
        next_port: Callable[[], int],
    ) -> None:
        self._stopped = False
        self._plan = plan
        self._launcher = launcher
        self._listener = listener
        self._emit = emit
        self._next_port = next_port
        self._workers: list[Worker] = []
        #: Workers that were scaled down and finish what they hold.
        self._leaving: set[Worker] = set()
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        #: Timeouts since any worker answered last.
        self._unanswered = 0

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The places of the pool, with their states."""
        return tuple(self._workers)

    def scale(self, specs: Sequence[ModelSpec]) -> None:
        """Makes the pool as large as `specs`: new places get the specs at the end, surplus workers leave.

        A worker that leaves answers what it holds; those that do not serve yet go first, then idle ones.
        """
        surplus = len(self._workers) - len(specs)
        if surplus > 0:
            by_use = sorted(self._workers, key=lambda worker: _USE.get(worker.life.state, 0))
            for worker in by_use[:surplus]:
                self._dismiss(worker)
            self._listener.on_availability()
        for spec in specs[len(self._workers) :]:
            worker = Worker(next(self._numbers), spec, Life(self._plan.give_up_after))
            self._workers.append(worker)
            self._begin(worker)
        self._notify()

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
        self._changed.set()
        self._changed = asyncio.Event()

    def _dismiss(self, worker: Worker) -> None:
        """Sends a worker away: it answers what it holds, and then has a grace to end in."""
        self._workers.remove(worker)
        self._cancel_timers(worker)
        loading = worker.life.state is State.LOADING
        if worker.life.on(Event.STOP, asyncio.get_running_loop().time()) is State.STOPPED:
            if worker.launch is not None:
                worker.launch.cancel()
            worker.ended.set()
            return
        self._leaving.add(worker)
        self._listener.on_leaving(worker)
        worker.send(encode(Stop()))
        if loading and worker.process is not None:
            worker.process.terminate()  # it reads no orders until it has loaded
        self._limit(worker)

    def _limit(self, worker: Worker) -> None:
        """Counts the grace of a worker that has nothing more in hand."""
        if worker.life.state is State.LEAVING and worker.grace is None:
            worker.grace = asyncio.get_running_loop().call_later(WORKER_STOP, self._grace_over, worker)

    def _grace_over(self, worker: Worker) -> None:
        text = "%s did not end within %g s of being told to; it is killed"
        logger.warning(text, worker.name, WORKER_STOP, extra=worker.known)
        if worker.process is not None:
            worker.process.kill()

    def hope(self) -> Refusal | None:
        """None while some worker serves or may soon; else why not."""
        if any(worker.life.hopeful for worker in self._workers):
            return None
        if not self._workers:
            return Refusal("the model is scaled to 0 workers", 1)
        now = asyncio.get_running_loop().time()
        dues = [worker.life.due for worker in self._workers if worker.life.due is not None]
        wait = math.ceil(max(min(dues) - now, 0)) if dues else 1
        causes = [worker.life.last_cause for worker in self._workers if worker.life.last_cause]
        return Refusal(f"no worker could be started: {causes[-1] if causes else 'unknown'}", max(wait, 1))

    def kill(self, worker: Worker, why: str) -> None:
        """Ends a worker that does not answer; it is replaced."""
        worker.verdict = why
        self._unanswered += 1
        logger.warning("%s: %s; the worker is killed and replaced", worker.name, why, extra=worker.known)
        logger.error("Number or consecutive unsuccessful inference %d", self._unanswered, extra=worker.known)
        logger.error("%s", _NO_RESPONSE, extra=worker.known)
        if worker.process is not None:
            worker.process.kill()

    async def stop(self, deadline: float) -> bool:
        """Dismisses all workers; those that do not end within `deadline` seconds are killed (then False).

        A killed worker's end is told in time, whatever becomes of the process: nothing makes this longer.
        """
        self._stopped = True
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

    # --- starting ----------------------------------------------------------------------------------------

    def _begin(self, worker: Worker) -> None:
        worker.number = self._next_port()
        worker.name = f"W-{worker.number}-{self._plan.label}"
        worker.verdict = worker.load_error = None
        worker.started_at = time.time()
        worker.ended.clear()
        worker.launch = asyncio.get_running_loop().create_task(self._launch(worker))

    async def _launch(self, worker: Worker) -> None:
        try:
            launch = replace(self._plan.launch, threads=worker.spec.threads)
            process = await self._launcher.launch(self, launch, worker)
        except OSError as error:
            self._after_exit(worker, f"no process could be started: {error}", killed=False)
            return
        if not process.alive:
            return
        worker.process = process
        loop = asyncio.get_running_loop()
        worker.life.on(Event.SPAWNED, loop.time())
        process.send(encode(Load(worker.spec, self._plan.max_response_size)))
        worker.startup = loop.call_later(self._plan.startup_timeout, self._startup_expired, worker)

    def _startup_expired(self, worker: Worker) -> None:
        worker.startup = None
        self.kill(
            worker, f"the model was not loaded within {self._plan.startup_timeout:g} s (startup timeout)"
        )

    # --- what a process reports (worker.process.Owner) ---------------------------------------------------

    def on_frame(self, process: WorkerProcess, message: Message, raw: bytes) -> None:
        """A frame of a worker: load reports are ours, the rest is the listener's."""
        worker = process.tag
        if not isinstance(worker, Worker):
            return
        if isinstance(message, Loaded):
            self._loaded(worker, message)
        elif isinstance(message, LoadFailed):
            worker.load_error = message.cause
        else:
            self._unanswered = 0
            self._listener.on_message(worker, message, raw)
            self._limit(worker)

    def on_line(self, process: WorkerProcess, stream: str, line: str) -> None:
        """A line that a worker printed."""
        worker = process.tag
        self._emit(worker.name if isinstance(worker, Worker) else self._plan.label, stream, line)

    def on_exit(self, process: WorkerProcess, returncode: int | None) -> None:
        """A worker process has ended."""
        worker = process.tag
        if not isinstance(worker, Worker):
            return
        worker.process = None
        if worker.load_error is not None:
            cause = f"the model could not be loaded: {worker.load_error}"
        else:
            cause = worker.verdict or describe_end(returncode)
        killed = returncode == -signal.SIGKILL and worker.verdict is None
        self._after_exit(worker, cause, killed=killed)

    def _loaded(self, worker: Worker, message: Loaded) -> None:
        if worker.life.on(Event.LOADED, asyncio.get_running_loop().time()) is not State.READY:
            return  # dismissed while it loaded: the order to stop is in its channel already
        self._cancel_timers(worker)
        took, pid = message.seconds, message.pid
        logger.info("%s: model loaded in %.3f s (pid %d)", worker.name, took, pid, extra=worker.known)
        if worker.recovering:
            worker.recovering = False
            logger.info("Auto recovery succeeded, reset recoveryStartTS", extra=worker.known)
        worker.load_seconds = took
        self._listener.on_ready(worker)
        self._notify()

    def _after_exit(self, worker: Worker, cause: str, *, killed: bool) -> None:
        self._cancel_timers(worker)
        loop = asyncio.get_running_loop()
        now = loop.time()
        loss = Loss(cause, killed, timed_out=worker.verdict is not None)
        state = worker.life.on(Event.EXITED, now, cause)
        worker.ended.set()
        if state is not State.STOPPED:
            due = worker.life.due or now
            _log_retry(worker, cause, round(due - now))
            worker.retry = loop.call_at(due, self._again, worker)
        else:
            self._leaving.discard(worker)
        self._listener.on_lost(worker, loss)
        self._notify()

    def _again(self, worker: Worker) -> None:
        worker.retry = None
        worker.life.on(Event.DUE, asyncio.get_running_loop().time())
        self._begin(worker)

    @staticmethod
    def _cancel_timers(worker: Worker) -> None:
        for timer in (worker.startup, worker.retry, worker.grace):
            if timer is not None:
                timer.cancel()
        worker.startup = worker.retry = worker.grace = None


def _log_retry(worker: Worker, cause: str, seconds: int) -> None:
    """TorchServe's sentences about a worker that is lost and will be replaced; scripts look for them."""
    logger.warning("Worker disconnected. %s: %s", worker.name, cause, extra=worker.known)
    if worker.recovering:
        logger.warning("Auto recovery failed again", extra=worker.known)
    else:
        worker.recovering = True
        milliseconds = time.time_ns() // 1_000_000
        logger.info("Auto recovery start timestamp: %d", milliseconds, extra=worker.known)
    logger.warning("Retry worker: %s in %d seconds.", worker.name, seconds, extra=worker.known)


def describe_end(returncode: int | None) -> str:
    """How a process ended, in words: its exit code or the signal that killed it."""
    if returncode is None:
        return "the worker process ended"
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        hint = " (often the kernel's out-of-memory killer)" if returncode == -signal.SIGKILL else ""
        return f"the worker process was killed by {name}{hint}"
    return f"the worker process left with exit code {returncode}"
