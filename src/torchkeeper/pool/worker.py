"""A worker as those see it who use it, and what they are told of it.

The pool alone moves its life; the dispatcher says what it has in hand, and may have it ended.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from torchkeeper.machine.figures import proportional_set
from torchkeeper.pool.dossier import STDERR_LINES, STDERR_WIDTH
from torchkeeper.pool.life import Event, Life
from torchkeeper.pool.process import WorkerProcess
from torchkeeper.pool.wear import Wear
from torchkeeper.wire.frames import Leaving, Message
from torchkeeper.wire.messages import Confinement, ModelSpec, Signature, Together


@dataclass(frozen=True)
class Loss:
    """How a worker was lost."""

    cause: str
    killed: bool
    timed_out: bool
    #: Whether it ended by itself, by what it computed: nobody ended it from outside.
    crashed: bool = False
    #: Whether its place is filled again.
    replaced: bool = True
    #: Whether what it held was too late, and is to be told so instead of TorchServe's way.
    late: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why nobody can be expected to serve, and when that may change (seconds of a monotonic clock)."""

    cause: str
    due: float | None = None

    def retry_after(self, now: float) -> int:
        """When to come again, in whole seconds from now."""
        return 1 if self.due is None else max(math.ceil(self.due - now), 1)


NOBODY = Refusal("the model is scaled to 0 workers")


class WorkerEvents(Protocol):
    """Who uses the workers, the dispatcher: what it is told of them."""

    def on_ready(self, worker: Worker) -> None:
        """The worker has loaded the model."""

    def on_message(self, worker: Worker, message: Message, raw: bytes) -> None:
        """The worker sent something about a batch.

        Raises:
            WireError: it cannot say that of it.
        """

    def on_leaving(self, worker: Worker) -> None:
        """The worker finishes what it holds and then leaves."""

    def on_lost(self, worker: Worker, loss: Loss) -> None:
        """The worker is gone."""

    def on_availability(self, nobody: Refusal | None) -> None:
        """Whether some worker serves or may soon (None), or why not; told whenever it may have changed."""


class Worker:
    """A place in the pool; the process in it may be replaced, the name changes with it."""

    def __init__(
        self, worker_id: int, spec: ModelSpec, life: Life, kill: Callable[[Worker, str], None]
    ) -> None:
        self.worker_id = worker_id
        self.spec = spec
        #: The pool's: others read it.
        self.life = life
        self._kill = kill
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
        #: Why its process ends by itself.
        self.last_words: Leaving | None = None
        self.started_at = time.time()
        #: The kernel's count of out-of-memory kills when its process was begun, if there is one.
        self.oom_kills: int | None = None
        #: The last lines that its process has printed on standard error.
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        #: The ids of the requests that it runs; those who hand them to it say so.
        self.in_flight: Callable[[], Sequence[str]] = tuple
        #: Whether its process was lost and no other has loaded the model since.
        self.recovering = False
        #: Seconds that loading the model took.
        self.load_seconds = 0.0
        #: What the model takes and gives, as the last process that loaded it said.
        self.signature: Signature | None = None
        #: The version of torch in it; empty without torch.
        self.torch = ""
        #: What is in force of its process's sandbox.
        self.confinement: Confinement | None = None
        #: What its process has applied of the model's `execution`.
        self.execution: dict[str, Any] = {}
        #: Calls of compiled models that its process has answered uncompiled.
        self.uncompiled = 0
        #: How many requests its process has found that batches may have, where it was told to find that out.
        self.together: Together | None = None
        self.ended = asyncio.Event()
        #: Requests that its process has answered; the dispatcher counts them.
        self.answered = 0
        self.wear = Wear()

    @property
    def resident(self) -> int:
        """Bytes of its process's resident set, with what it shares with others; 0 if there is none."""
        if self.process is None or self.process.pid is None:
            return 0
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def proportional(self) -> int:
        """Bytes of its process's memory, with its part of what it shares (PSS); 0: unknown."""
        process = self.process  # which may go meanwhile: threads ask, too
        return 0 if process is None or process.pid is None else proportional_set(process.pid)

    @property
    def known(self) -> dict[str, str]:
        """What a log line about this worker says beside its text."""
        return {"worker": self.name, "model": self.spec.name}

    def printed(self, stream: str, line: str) -> None:
        """Its process has printed a line."""
        if stream == "stderr":
            self.stderr.append(line[:STDERR_WIDTH])

    def took(self) -> None:
        """It has a batch in hand, after none."""
        self.life.on(Event.BATCH, time.monotonic())

    def freed(self) -> None:
        """It has nothing in hand any more."""
        self.life.on(Event.IDLE, time.monotonic())

    def kill(self, why: str) -> None:
        """Ends it, for it does not answer; its place is filled again."""
        self._kill(self, why)

    def send(self, *frame: bytes) -> None:
        """Hands a frame, or the pieces of one, to the process, if there is one."""
        if self.process is not None:
            self.process.send(*frame)

    def hold(self) -> None:
        """Reads nothing of what it sends, until `let_on`; it will have to wait with it."""
        if self.process is not None:
            self.process.hold()

    def let_on(self) -> None:
        """Reads again."""
        if self.process is not None:
            self.process.let_on()
