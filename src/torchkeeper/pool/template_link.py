"""The template process as the front sees it: started, asked for forks, watched, ended.

Each of its answers has a time limit; a template that keeps none is killed, and the next one is tried. Workers
outlive their template: the kernel makes them the front's children then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping

from torchkeeper.deadlines import FORK, KILLED, TEMPLATE_START, TEMPLATE_STOP
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.pool.orphans import OnEnd, watch_child
from torchkeeper.pool.process import Ends, WorkerProcess
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import Exited, Fork, Forked, Message, TemplateReady, encode

logger = logging.getLogger(__name__)


class TemplateFailed(OSError):
    """The template process could not do what it was asked; the text says why."""


class TemplateDied(TemplateFailed):
    """It is gone, with an order or before; the next one may do better."""


class TemplateLink:
    """The front's side of one template process."""

    def __init__(self, environ: Mapping[str, str], on_end: OnEnd) -> None:
        self._environ = environ
        self._on_end = on_end
        self._reader = FrameReader()
        self._sock: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._executing: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._forks: dict[int, tuple[asyncio.Future[None], WorkerProcess]] = {}
        self._workers: dict[int, tuple[HeldProcess, WorkerProcess]] = {}
        self._ready: asyncio.Future[None] | None = None
        #: Why it is no good any more, if that is so.
        self._verdict: str | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        """Whether forks may be asked for."""
        return self._sock is not None and self._verdict is None

    async def start(self) -> None:
        """Executes the template and waits until it has imported what workers share; `stop` ends that too.

        Raises:
            TemplateFailed: it ended, or was not ready in time and is killed.
            OSError: it could not be executed.
        """
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._executing = loop.create_task(self._execute())
        await self._executing
        try:
            async with asyncio.timeout(TEMPLATE_START):
                await self._ready
        except TimeoutError:
            self._kill(f"the template process was not ready within {TEMPLATE_START:g} s and was killed")
            raise TemplateFailed(self._verdict) from None

    async def _execute(self) -> None:
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", "torchkeeper.worker.template"),
                    *("--socket", str(theirs.fileno()), "--parent", str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**self._environ, "OPENBLAS_NUM_THREADS": "1"},
                    start_new_session=True,
                )
            stack.pop_all()
        ours.setblocking(False)
        self._sock = ours
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._on_readable)
        self._watch = loop.create_task(self._wait(self._process))

    async def stop(self) -> None:
        """Ends the template: one that is ready leaves by itself, if it does so at once; bounded."""
        self._stopping = True
        if self._executing is not None:
            await asyncio.wait({self._executing})
        if self._watch is None:
            return
        ready = self._ready is not None and self._ready.done() and not self._ready.cancelled()
        self._close()
        if self._verdict is None and ready:
            await asyncio.wait({self._watch}, timeout=TEMPLATE_STOP)
        if not self._watch.done():
            self._kill("the server stops")
            await asyncio.wait({self._watch}, timeout=KILLED)
        if not self._watch.done():
            logger.error("the template process was killed, but has not ended after %g s", KILLED)
            self._watch.cancel()

    async def fork(self, worker: WorkerProcess, title: str, ends: Ends) -> None:
        """Has a new worker forked that holds these ends.

        Raises:
            TemplateDied: the template died meanwhile.
            TemplateFailed: it did not answer in time and is killed.
        """
        if self._sock is None or self._verdict is not None:
            raise TemplateDied(self._verdict or "the template process is gone")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forks[worker.worker_id] = (answer, worker)
        frame = encode(Fork(worker.worker_id, title, ends.link is not None))
        try:
            socket.send_fds(self._sock, [frame], ends.filenos())
        except OSError as error:
            del self._forks[worker.worker_id]
            self._kill(f"the template process takes no orders: {error}")
            raise TemplateDied(self._verdict) from error
        try:
            async with asyncio.timeout(FORK):
                await answer
        except TimeoutError:
            self._kill(f"the template process did not fork a worker within {FORK:g} s and was killed")
            raise TemplateFailed(self._verdict) from None

    # --- what it says ------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        """Reads what there is; the end of the socket is only a pause before the process's end is told."""
        while self._sock is not None:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._sock)
                return
            for message, _ in self._reader.feed(data):
                self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, TemplateReady):
            for warning in message.warnings:
                logger.warning("%s", warning)
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(message, Forked):
            answer, worker = self._forks.pop(message.worker_id)
            process = HeldProcess(message.pid)
            self._workers[message.pid] = process, worker
            worker.becomes(process)
            if not answer.done():
                answer.set_result(None)
        elif isinstance(message, Exited) and (ended := self._workers.pop(message.pid, None)) is not None:
            self._on_end(ended[1], message.pid, message.returncode, message.peak_rss)

    # --- its end -----------------------------------------------------------------------------------------

    def _kill(self, why: str) -> None:
        if self._verdict is None:
            self._verdict = why
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Waits for the template's end: its workers go on as our children, and we reap them from now on."""
        code = await process.wait()
        self._on_readable()
        self._close()
        if self._verdict is None:
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            self._verdict = f"the template process died ({how})"
            if not self._stopping:
                logger.warning("%s; a new one is started for the next worker", self._verdict)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(TemplateFailed(self._verdict))
        for answer, _ in self._forks.values():
            if not answer.done():
                answer.set_exception(TemplateDied(self._verdict))
        self._forks.clear()
        for held, worker in self._workers.values():
            watch_child(held, worker, self._on_end)
        self._workers.clear()

    def _close(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
