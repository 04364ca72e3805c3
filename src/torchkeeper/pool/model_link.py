"""The front's side of a process that imports a version's handler and then forks the version's workers.

It runs its user's code, so it is not believed which process is a worker: each tells of itself, and the kernel
says who speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable

from torchkeeper.deadlines import FORK, KILLED, TEMPLATE_STOP
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.pool.orphans import OnEnd, watch_child
from torchkeeper.pool.process import Ends, WorkerProcess
from torchkeeper.pool.template_link import TemplateDied
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import Exited, Fork, Forked, Message, NotShared, WireError, encode

logger = logging.getLogger(__name__)

_PACKET = 1 << 16
#: Who sent a packet, as the kernel says: process, user and group. There is no room for anything else to come.
_CREDENTIALS = struct.Struct("3i")
_GONE = "the process that has imported the handler is gone"


class ModelLink:
    """One such process, from when its import begins."""

    def __init__(
        self,
        sock: socket.socket,
        first: WorkerProcess,
        on_end: OnEnd,
        settled: Callable[[ModelLink, str, bool], None],
        gone: Callable[[ModelLink], None],
    ) -> None:
        """
        Args:
            sock: a socket of packets, which is told who sends.
            first: the worker as which the process begins.
            on_end: told of the ends of the workers that it forks.
            settled: told that it forks workers; or why it will not, and whether that is for what it has
                loaded alone: then it is gone, too.
            gone: told once that no forks can be had of it.
        """
        assert first.process is not None
        self._process = first.process
        self.pid = self._process.pid
        self._sock: socket.socket | None = sock
        self._on_end, self._settled, self._gone = on_end, settled, gone
        self._forks: dict[int, tuple[asyncio.Future[None] | None, WorkerProcess]] = {0: (None, first)}
        self._workers: dict[int, tuple[HeldProcess, WorkerProcess]] = {}
        self._dismissed = False
        self._end = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._on_readable)

    async def fork(self, worker: WorkerProcess, title: str, ends: Ends) -> None:
        """Has a worker forked that holds these ends.

        Raises:
            TemplateDied: it is gone, or does not answer in time and is killed.
        """
        if self._sock is None or self._dismissed:
            raise TemplateDied(_GONE)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forks[worker.worker_id] = (answer, worker)
        try:
            socket.send_fds(self._sock, [encode(Fork(worker.worker_id, title))], ends.filenos())
            async with asyncio.timeout(FORK):
                await answer
        except TemplateDied:
            raise
        except ConnectionError as error:
            self._lose()
            raise TemplateDied(_GONE) from error
        except TimeoutError:
            self._break(f"has not forked a worker within {FORK:g} s")
            raise TemplateDied(_GONE) from None
        except OSError as error:
            self._break(f"takes no orders: {error}")
            raise TemplateDied(_GONE) from error

    def dismiss(self) -> None:
        """Lets it go: it leaves by itself once it has done what it was asked for, or is killed."""
        if self._sock is None or self._dismissed:
            return
        self._dismissed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._patience = asyncio.get_running_loop().call_later(TEMPLATE_STOP, self._kill)
        self._gone(self)

    async def stop(self) -> None:
        """Lets it go and waits for that; bounded."""
        self.dismiss()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TEMPLATE_STOP + KILLED):
                await self._end.wait()

    def ended(self) -> None:
        """The process has ended; what it and its forks said before is heard."""
        self._end.set()
        self._process.close()
        if self._patience is not None:
            self._patience.cancel()
        while self._on_readable():
            pass
        if self._sock is not None:
            self._lose()
        for process, worker in self._workers.values():  # which are our children now
            watch_child(process, worker, self._on_end)
        self._workers.clear()

    def _kill(self) -> None:
        if not self._end.is_set():
            self._process.kill()

    def _close(self) -> None:
        """Hears nothing more."""
        if self._sock is None:
            return
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        self._sock = None
        for answer, _ in self._forks.values():
            if answer is not None and not answer.done():
                answer.set_exception(TemplateDied(_GONE))
        self._forks.clear()
        if not self._dismissed:
            self._gone(self)

    # --- what is said ------------------------------------------------------------------------------------

    def _on_readable(self) -> bool:
        """Whether there was something to be heard."""
        if self._sock is None:
            return False
        try:
            data, said, *_ = self._sock.recvmsg(_PACKET, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not data:
                self._lose()
                return False
            ((_, _, sender),) = said
            pid, _, _ = _CREDENTIALS.unpack(sender)
            ((message, _),) = FrameReader().feed(data)
        except BlockingIOError:
            return False
        except ConnectionError:  # it has ended with orders that it had not read; what it said is there yet
            return True
        except (OSError, ValueError, struct.error, WireError) as error:
            self._break(f"broke its socket's format: {error}")
            return False
        self._take(message, pid)
        return True

    def _take(self, message: Message, pid: int) -> None:
        ours = pid == self.pid
        if isinstance(message, NotShared) and ours:
            self._settled(self, message.why, message.weights)
            self._close()
        elif isinstance(message, Exited) and ours:
            self._take_end(message)
        elif isinstance(message, Forked) and not ours and pid not in self._workers:
            self._adopt(pid, message.worker_id)
        else:
            self._break("said what it cannot say")

    def _take_end(self, said: Exited) -> None:
        if said.pid not in self._workers:
            return
        process, worker = self._workers[said.pid]
        if not process.has_ended:
            self._break("said of a worker that lives that it has ended")
            return
        del self._workers[said.pid]
        self._on_end(worker, said.pid, said.returncode, said.peak_rss)

    def _adopt(self, pid: int, worker_id: int) -> None:
        if worker_id not in self._forks:
            self._break("said of a process that it is a worker that nobody has asked for")
            return
        process = HeldProcess(pid)
        try:
            ours = self._is_fork(process)
        except OSError as error:
            process.close()
            self._break(f"has forked a worker of which nothing can be known: {error}")
            return
        if not ours:
            process.close()
            self._break(f"said of a process that it has not forked that it is a worker ({pid})")
            return
        answer, worker = self._forks.pop(worker_id)
        self._workers[pid] = process, worker
        worker.becomes(process)
        if answer is None:
            self._settled(self, "", False)
        elif not answer.done():
            answer.set_result(None)

    def _is_fork(self, process: HeldProcess) -> bool:
        """Whether it is this one's child, or was it when it ended or when this one did.

        Raises:
            OSError: that cannot be known.
        """
        parent = process.parent
        if parent == os.getpid():  # which takes over what a dead one leaves
            return self._process.has_ended
        return parent is None or parent == self.pid

    def _lose(self) -> None:
        """It says nothing more."""
        if not self._dismissed and 0 not in self._forks:
            logger.warning("process %d, from which workers were forked, died; they go on", self.pid)
        self._close()

    def _break(self, what: str) -> None:
        logger.error("the process that has imported a handler %s; it is killed (pid %d)", what, self.pid)
        self._kill()
        self._settled(self, f"the process that has imported it {what}", False)
        self._close()
