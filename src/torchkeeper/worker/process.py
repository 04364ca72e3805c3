"""One worker process as the front sees it, and the two ways to get one: forked from the template, or spawned.

Owns the descriptors and process ids. It knows nothing of models or requests: it hands frames up and says
when, and how, a process ended. Control never travels on stdout; whatever a worker prints is a log line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torchkeeper.worker.wire import (
    Exited,
    Fork,
    Forked,
    FrameReader,
    Message,
    TemplateReady,
    WireError,
    encode,
)

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
#: Longest line taken from a worker's output in one piece, in bytes.
_MAX_LINE = 64 * 1024


class Owner(Protocol):
    """Who is told what a worker does."""

    def on_frame(self, worker: WorkerProcess, message: Message, raw: bytes) -> None:
        """A frame came from the worker."""

    def on_exit(self, worker: WorkerProcess, returncode: int | None) -> None:
        """The process has ended and its channel is closed (None: nobody knows how)."""

    def on_line(self, worker: WorkerProcess, stream: str, line: str) -> None:
        """The worker printed a line on `stdout` or `stderr`."""


@dataclass(frozen=True)
class Launch:
    """How a worker process is to be made."""

    title: str
    threads: int | None
    environ: Mapping[str, str]
    from_template: bool
    #: Another interpreter than the server's own; such a worker is never forked.
    python: str | None = None


class _Pipe(asyncio.Protocol):
    """A log pipe: bytes to lines."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._emit(line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._emit(self._rest.decode(errors="replace"))


class WorkerProcess(asyncio.Protocol):
    """A living worker: its channel, its life pipe, its end."""

    def __init__(self, worker_id: int, owner: Owner, tag: object) -> None:
        self.worker_id = worker_id
        #: Whatever the owner wants to find again in its callbacks.
        self.tag = tag
        self.pid: int | None = None
        self.alive = True
        self._owner = owner
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._life_fd = -1
        self._closed = asyncio.Event()
        self._returncode: int | None = None
        self._ended = False

    def send(self, frame: bytes) -> None:
        """Hands one frame to the channel; a dead worker swallows it (its end is reported anyway)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def hold(self) -> None:
        """Reads nothing from the channel until `let_on`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def let_on(self) -> None:
        """Reads from the channel again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def kill(self) -> None:
        """Ends the process at once (SIGKILL); `on_exit` follows."""
        if self.pid is not None and not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, though uvloop's does not inherit

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._reader.feed(data)
        except WireError as error:
            logger.error("worker %s broke the channel's format and is killed: %s", self.pid, error)
            self.kill()
            return
        for message, raw in frames:
            self._owner.on_frame(self, message, raw)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._settle()

    def ended(self, returncode: int | None) -> None:
        """The process is gone; what it still wrote is read first."""
        self._returncode, self._ended = returncode, True
        self.let_on()
        self._settle()

    def _settle(self) -> None:
        if self.alive and self._ended and self._closed.is_set():
            self.alive = False
            if self._life_fd >= 0:
                os.close(self._life_fd)
                self._life_fd = -1
            self._owner.on_exit(self, self._returncode)

    async def adopt(self, channel: socket.socket, logs: Mapping[str, int], life_fd: int) -> None:
        """Takes over the front's ends of the channel, the log pipes and the life pipe."""
        loop = asyncio.get_running_loop()
        self._life_fd = life_fd
        for stream, fd in logs.items():
            await loop.connect_read_pipe(
                lambda stream=stream: _Pipe(lambda line: self._owner.on_line(self, stream, line)),  # type: ignore[misc]  # a lambda's default cannot be typed
                os.fdopen(fd, "rb", buffering=0),
            )
        await loop.create_unix_connection(lambda: self, sock=channel)


class Launcher:
    """Makes worker processes. One per server; owns the template and restarts it when it dies."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._ids = itertools.count(1)
        self._template: _Template | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Makes the front the reaper of orphaned workers and starts the template, if this system has fork."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
            await self._current_template()

    async def stop(self) -> None:
        """Ends the template; workers are stopped by their pools before."""
        if self._template is not None:
            await self._template.stop()
        for task in self._tasks:
            task.cancel()

    async def launch(self, owner: Owner, launch: Launch, tag: object) -> WorkerProcess:
        """A new worker process whose channel is open; it waits for its Load frame.

        It may end, and be reported, before this returns; `alive` tells.

        Raises:
            OSError: no process could be made.
        """
        worker = WorkerProcess(next(self._ids), owner, tag)
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        life_read, life_write = os.pipe()
        try:
            if launch.from_template and launch.python is None and sys.platform == "linux":
                template = await self._current_template()
                worker.pid = await template.fork(
                    worker, launch, [theirs.fileno(), out_write, err_write, life_read]
                )
            else:
                await self._spawn(worker, launch, (theirs.fileno(), out_write, err_write, life_read))
        except BaseException:
            ours.close()
            for fd in (out_read, err_read, life_write):
                os.close(fd)
            raise
        finally:
            theirs.close()
            for fd in (out_write, err_write, life_read):
                os.close(fd)
        ours.setblocking(False)
        await worker.adopt(ours, {"stdout": out_read, "stderr": err_read}, life_write)
        return worker

    async def _spawn(self, worker: WorkerProcess, launch: Launch, fds: tuple[int, int, int, int]) -> None:
        channel, out, err, life = fds
        environ = dict(launch.environ)
        if launch.threads is not None:
            environ.setdefault("OMP_NUM_THREADS", str(launch.threads))
        child = await asyncio.create_subprocess_exec(
            launch.python or sys.executable,
            *("-m", "torchkeeper.worker.main", "--channel", str(channel), "--life", str(life)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(channel, life),
            env=environ,
            start_new_session=True,
        )
        worker.pid = child.pid

        async def wait() -> None:
            worker.ended(await child.wait())

        self._keep(wait())

    async def _current_template(self) -> _Template:
        async with self._starting:
            if self._template is None or not self._template.alive:
                self._template = _Template(self._environ)
                await self._template.start()
            return self._template

    def _keep(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # any coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class TemplateFailed(OSError):
    """The template process ended before it could fork."""


class _Template(asyncio.Protocol):
    """The front's side of the template process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._reader = FrameReader()
        self._sock: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._forks: dict[int, tuple[asyncio.Future[int], WorkerProcess]] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._ready: asyncio.Future[None] | None = None
        self.alive = False

    async def start(self) -> None:
        """Executes the template and waits until it has imported what workers share."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "torchkeeper.worker.template"),
                *("--socket", str(theirs.fileno()), "--parent", str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**self._environ, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        ours.setblocking(False)
        self._sock = ours
        self._ready = loop.create_future()
        self.alive = True
        loop.add_reader(ours, self._on_readable)
        await self._ready

    async def stop(self) -> None:
        """Closes the socket, which ends the template, and waits for it."""
        self._close()
        if self._process is not None:
            await self._process.wait()

    async def fork(self, worker: WorkerProcess, launch: Launch, fds: list[int]) -> int:
        """The process id of a new worker that holds the given descriptors.

        Raises:
            TemplateFailed: the template died meanwhile.
        """
        if self._sock is None:
            raise TemplateFailed("the template process is gone")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forks[worker.worker_id] = (answer, worker)
        frame = encode(Fork(worker.worker_id, launch.title, launch.threads))
        socket.send_fds(self._sock, [frame], fds)
        return await answer

    def _on_readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
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
            self._workers[message.pid] = worker
            worker.pid = message.pid
            if not answer.done():
                answer.set_result(message.pid)
        elif isinstance(message, Exited) and (ended := self._workers.pop(message.pid, None)) is not None:
            ended.ended(message.returncode)

    def _close(self) -> None:
        self.alive = False
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _lost(self) -> None:
        """The template died: its workers go on as our children, and we reap them from now on."""
        self._close()
        logger.warning("the template process died; a new one is started for the next worker")
        failure = TemplateFailed("the template process died")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(failure)
        for answer, _ in self._forks.values():
            if not answer.done():
                answer.set_exception(failure)
        self._forks.clear()
        for pid, worker in self._workers.items():
            _reap_ourselves(pid, worker)
        self._workers.clear()


def _reap_ourselves(pid: int, worker: WorkerProcess) -> None:
    """Waits, by pidfd, for a worker that the kernel has made our child."""
    loop = asyncio.get_running_loop()
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        worker.ended(None)
        return

    def on_end() -> None:
        loop.remove_reader(watch)
        os.close(watch)
        try:
            _, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            worker.ended(None)
        else:
            worker.ended(os.waitstatus_to_exitcode(status))

    loop.add_reader(watch, on_end)
