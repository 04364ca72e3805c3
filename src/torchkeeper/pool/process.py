"""One worker process as the front sees it: its channel, its log pipes, its life pipe, its end.

It knows nothing of models or requests: it hands frames up and says when, and how, a process ended. Control
never travels on stdout; whatever a worker prints is a log line. A worker's end is its process's end, as its
parent reports it: what it holds its children may hold longer, so an end of file, or none, says nothing.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import functools
import io
import logging
import os
import signal
import socket
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torchkeeper.deadlines import KILLED
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.machine.signals import WHERE
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import Message, WireError

logger = logging.getLogger(__name__)

#: Longest line taken from a worker's output in one piece, in bytes.
_MAX_LINE = 64 * 1024
#: Seconds after which a process that has closed its channel, but lives, is killed: it can answer nobody.
_DEAF = 1.0
#: Seconds in which a process that is about to be killed may say where it is.
_MOMENT = 0.1


class Owner(Protocol):
    """Who is told what a worker does."""

    def on_frame(self, message: Message, raw: bytes) -> None:
        """A frame came from the worker.

        Raises:
            WireError: the worker cannot say that now; it is killed for it.
        """

    def on_exit(self, returncode: int | None, fault: str | None) -> None:
        """The process has ended and what it sent has been read (None: nobody knows how).

        `fault` is what it did wrong on its channel, for which it was killed; None: nothing.
        """

    def on_line(self, stream: str, line: str) -> None:
        """The worker printed a line on `stdout` or `stderr`."""


@dataclass(frozen=True)
class Ends:
    """One side's descriptors: of a worker's channel, log pipes, life pipe, and of the pipe of its crash.

    `link` is the socket over which a worker that becomes its version's template is asked for forks.
    """

    channel: socket.socket
    out: io.FileIO
    err: io.FileIO
    life: io.FileIO
    crash: io.FileIO
    link: socket.socket | None = None

    def _all(self) -> tuple[socket.socket | io.FileIO, ...]:
        link = () if self.link is None else (self.link,)
        return self.channel, self.out, self.err, self.life, self.crash, *link

    def filenos(self) -> list[int]:
        """The descriptors, in the order in which a worker takes them."""
        return [each.fileno() for each in self._all()]

    def close(self) -> None:
        """Closes what is still open."""
        for each in self._all():
            each.close()


def make_ends(*, link: bool = False) -> tuple[Ends, Ends]:
    """The front's ends and the worker's; with `link` also those of that socket.

    Raises:
        OSError: there are no more descriptors.
    """
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        links: list[socket.socket] = []
        if link:
            links += socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in links:
                stack.enter_context(end)
            links[0].setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        reads, writes = [], []
        for _ in range(4):
            read, write = os.pipe()
            reads.append(stack.enter_context(io.FileIO(read, "r")))
            writes.append(stack.enter_context(io.FileIO(write, "w")))
        stack.pop_all()
    ours.setblocking(False)
    return (
        Ends(ours, reads[0], reads[1], writes[2], reads[3], *links[:1]),
        Ends(theirs, writes[0], writes[1], reads[2], writes[3], *links[1:]),
    )


def _waiting(fd: int) -> bytes:
    """What can be read from a non-blocking descriptor now, and no more: whoever writes on ends nothing."""
    size = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, size)
    chunks, left = [], size[0]
    while left > 0:
        try:
            data = os.read(fd, left)
        except BlockingIOError:
            break
        if not data:
            break
        chunks.append(data)
        left -= len(data)
    return b"".join(chunks)


class _Pipe(asyncio.Protocol):
    """A log pipe: bytes to lines."""

    def __init__(self, file: io.FileIO, emit: Callable[[str], None]) -> None:
        self._file = file
        self._emit = emit
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._emit(line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest.decode(errors="replace"))

    def finish(self) -> None:
        """The process is gone: what it printed is taken, what others print is not."""
        if not self._file.closed and self._transport is not None and not self._transport.is_closing():
            self.data_received(_waiting(self._file.fileno()))
            self._transport.close()
            self.connection_lost(None)


class WorkerProcess(asyncio.Protocol):
    """A worker, from before its process is made until its end is reported."""

    def __init__(self, worker_id: int, owner: Owner) -> None:
        self.worker_id = worker_id
        #: None before it is made.
        self.process: HeldProcess | None = None
        self.alive = True
        #: The folder that is its alone, if it has one; the launcher's.
        self.scratch = ""
        self._owner = owner
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._ends: Ends | None = None
        self._pipes: list[_Pipe] = []
        self._adopted = False
        #: Whether its process is to be killed, or was.
        self._condemned = False
        self._ended = False
        self._returncode: int | None = None
        self._fault: str | None = None
        #: Once it has ended: the most memory that it held (bytes, 0: unknown), and where a signal ended it.
        self.peak_rss = 0
        self.crash = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its process is known to be gone."""
        return self._ended

    @property
    def pid(self) -> int | None:
        """Its process's number; None before that is made."""
        return None if self.process is None else self.process.pid

    def becomes(self, process: HeldProcess) -> None:
        """It is in this process from now on; one that is not wanted any more is ended."""
        self.process = process
        if self._condemned or not self.alive:
            self.kill()

    def send(self, *frame: bytes) -> None:
        """Hands one frame, or its pieces, to the channel; a dead worker swallows it: its end is reported."""
        if self._transport is not None and not self._transport.is_closing():
            if len(frame) == 1:
                self._transport.write(frame[0])
            else:
                self._transport.writelines(frame)

    def hold(self) -> None:
        """Reads nothing from the channel until `let_on`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def let_on(self) -> None:
        """Reads from the channel again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def terminate(self) -> None:
        """Asks the process to leave (SIGTERM)."""
        if self.process is not None and not self._ended:
            self.process.signal(signal.SIGTERM)

    def kill_soon(self) -> None:
        """Ends the process once it has had a moment to write down where it is."""
        if self.process is not None and not self._ended:
            self.process.signal(WHERE)
            self._after(_MOMENT, self.kill)

    def kill(self) -> None:
        """Ends the process and its descendants at once (SIGKILL); `on_exit` follows, whatever happens."""
        self._condemned = True
        if self.process is not None and not self._ended:
            self.process.kill()
            self._after(KILLED, self._given_up)

    def discard(self) -> None:
        """Ends a worker that nobody wants any more; its end is not reported."""
        self.alive = False
        self.kill()
        self._close()

    def ended(self, returncode: int | None, peak_rss: int = 0) -> None:
        """The process is gone; what it wrote before is read, then its end is reported."""
        if self.process is not None:
            self.process.close()
        self._end(returncode, peak_rss)

    def _end(self, returncode: int | None, peak_rss: int = 0) -> None:
        if not self._ended:
            self._ended, self._returncode, self.peak_rss = True, returncode, peak_rss
            if self._timer is not None:
                self._timer.cancel()
            if self._adopted:
                self._settle()

    async def adopt(self, ends: Ends) -> None:
        """Takes over the front's ends; not to be cancelled, for the event loop closes what it has taken."""
        self._ends = ends
        untaken: list[socket.socket | io.FileIO] = [ends.channel, ends.err, ends.out]
        try:
            await self._listen("stdout", ends.out)
            untaken.pop()
            await self._listen("stderr", ends.err)
            untaken.pop()
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ends.channel)
        except BaseException:
            for end in untaken:
                end.close()
            raise
        self._adopted = True
        if self._ended:
            self._settle()

    async def _listen(self, stream: str, file: io.FileIO) -> None:
        pipe = _Pipe(file, functools.partial(self._owner.on_line, stream))
        self._pipes.append(pipe)
        await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, file)

    # --- what the event loop says ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, though uvloop's does not inherit

    def data_received(self, data: bytes) -> None:
        if self._fault is not None:
            return
        try:
            for message, raw in self._reader.feed(data):
                self._owner.on_frame(message, raw)
        except WireError as error:
            self._kill_for(f"the worker broke its channel's format: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended and self._timer is None:  # else it has been killed already
            self._after(_DEAF, self._deaf)

    def _deaf(self) -> None:
        self._kill_for("the worker has closed its channel")

    def _kill_for(self, fault: str) -> None:
        self._fault = fault
        logger.error("%s and is killed (pid %s)", fault, self.pid)
        self.kill()

    # --- the end -----------------------------------------------------------------------------------------

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, do)

    def _given_up(self) -> None:
        text = "worker %s was killed, but has not ended after %g s; it is left to the kernel"
        logger.error(text, self.pid, KILLED)
        self._end(-signal.SIGKILL)

    def _settle(self) -> None:
        if not self.alive:
            self._close()
            return
        self.alive = False  # whoever hears what it still said must not send it anything
        if self._ends is not None and self._transport is not None and not self._transport.is_closing():
            self.data_received(_waiting(self._ends.channel.fileno()))
        if self._ends is not None:
            self.crash = _waiting(self._ends.crash.fileno()).decode(errors="replace")
        self._close()
        self._owner.on_exit(self._returncode, self._fault)

    def _close(self) -> None:
        for pipe in self._pipes:
            pipe.finish()
        if self._transport is not None:
            self._transport.abort()
        if self._ends is not None:
            self._ends.life.close()
            self._ends.crash.close()
