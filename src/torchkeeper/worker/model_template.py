"""A process that has imported a model's handler, and forks the workers of one version.

It begins as the version's first worker. Once the handler's module is there it looks at what the import left
behind: where forks would be as good as imports of their own it stays as it is and goes on as a worker in its
first fork, else it goes on itself. Told to, it loads the model first, with one thread, and looks again. It
tells how its workers end, and they outlive it, as with the template.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from torchkeeper.handler.safe_text import safe_str
from torchkeeper.handler.seed import is_chosen
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.machine.process_group import kill_members
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import WORKER_FDS, Fork, Forked, Load, NotShared, encode
from torchkeeper.wire.messages import ModelSpec
from torchkeeper.worker.channel import Channel
from torchkeeper.worker.children import Children
from torchkeeper.worker.crash_pipe import aim, stay_silent
from torchkeeper.worker.fork import UNHEARD, bound_threads, call_process, reseed
from torchkeeper.worker.life_pipe import killed_with_the_front
from torchkeeper.worker.loader import Imported, enter, import_handler, import_model_file, load
from torchkeeper.worker.service import Service
from torchkeeper.worker.traces import Traces, obstacles_of_a_load, threads

_PACKET = 1 << 16
#: Characters of a reason for the log and the description.
_LONGEST_WHY = 1000


class _CannotFork(Exception):
    """The system gives no process."""


class _ForksEnd(Exception):
    """A fork has ended before it could say of itself; the text says how."""


@dataclass
class Seat:
    """What a worker holds of the front: its channel, and its ends of the pipes of its life and its crash."""

    channel: Channel
    #: Keeps the channel open as long as the process is there: to the front a closed one answers nobody.
    kept: int
    life: int
    crash: int

    @classmethod
    def at(cls, channel: int, life: int, crash: int) -> Seat:
        """The seat at these descriptors."""
        for fd in (channel, life, crash):
            os.set_inheritable(fd, False)
        sock = socket.socket(fileno=os.dup(channel))
        sock.setblocking(True)
        return cls(Channel(sock), channel, life, crash)

    def leave(self) -> None:
        """Closes all of it."""
        self.channel.close()
        for fd in (self.kept, self.life, self.crash):
            os.close(fd)


class ModelTemplate:
    """Imports, and forks what the front asks for over a socket of its own; each packet there is a frame."""

    def __init__(self, link: socket.socket, title: str) -> None:
        link.set_inheritable(False)  # what the handler starts is not asked for forks
        self._link = link
        self._title = title
        #: Why forks would not be as good as workers that import, or load, for themselves; empty: they are.
        self._why_not = ""
        self._why_no_weights = ""
        #: The number of torch's threads that was there before the model was loaded, or that this chose.
        self._threads: int | None = None
        #: Whether torch was there before the import, which left its threads' number alone.
        self._bounds_threads = False
        #: Whether torch's seed was left to each worker.
        self._seeds_torch = False
        self._has_loaded = False

    def imported(self, spec: ModelSpec, life: int) -> Imported:
        """The handler's module; the file of the model's class is imported, too.

        No thread is started for it: the kernel ends this process with the front meanwhile.

        Raises:
            Exception: whatever the user's module raises.
        """
        count = _torchs_threads()
        with killed_with_the_front(life):
            enter(spec)  # what comes with the archive is found before what the server has of that name
            before = _traces()
            found = import_handler(spec)
            import_model_file(spec, found)
            self._why_not = _obstacles(before, found)
        self._bounds_threads = count is not None and count == _torchs_threads()
        self._seeds_torch = not _torchs_seed_is_chosen()
        return found

    def loaded(self, order: Load, life: int, imported: Imported) -> Service | None:
        """The model, loaded for the workers to come, and warm; None where they cannot be forked at all.

        It has one thread, also for torch's operators: OpenMP's, once begun, are missed by forks. No other is
        started for it, as with the import.

        Raises:
            Exception: what `loader.load` raises.
        """
        if self._why_not:
            return None
        with suppress(Exception):  # a broken library raises anything, and will again where it is wanted
            importlib.import_module("torch")
        self._threads = _torchs_threads()
        bound_threads(1)
        with killed_with_the_front(life):
            before = _traces()
            found = load(_with_one_thread(order.spec), order.max_response_size, imported)
            self._why_no_weights = _obstacles(before, imported, found)
        if (chosen := _torchs_threads()) != 1:
            self._threads, self._bounds_threads = chosen, False
        self._seeds_torch = not _torchs_seed_is_chosen()
        self._has_loaded = True
        return found

    def settle_threads(self, spec: ModelSpec) -> None:
        """Sets what torch's operators have in this process, which will not be forked from any more."""
        own = spec.threads if self._bounds_threads else None
        bound_threads(spec.execution.threads or own or self._threads)

    def run(self, seat: Seat, narrow: Callable[[], None]) -> Seat:
        """Forks workers as long as the front is there, and returns in each of them: its seat.

        In this process it returns only where what it has cannot be shared: the seat that it had.

        Args:
            narrow: what keeps a worker from the others.
        """
        if self._why_not or self._why_no_weights:
            self._decline()
            return seat
        gc.freeze()
        children = Children()
        signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)
        try:
            forked = self._fork(0)
        except (_CannotFork, _ForksEnd) as error:
            children.forget()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
            self._why_not = str(error)
            self._decline()
            return seat
        if not forked:
            seat.leave()
            self._retire()
            seat = self._serve(children)
        children.forget()
        narrow()
        seat.channel.ours = True
        aim(seat.crash)
        reseed(torchs=self._seeds_torch)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
        return seat

    def _decline(self) -> None:
        why = self._why_not or self._why_no_weights
        self._link.sendall(encode(NotShared(safe_str(why, _LONGEST_WHY), weights=not self._why_not)))
        self._link.close()

    def _retire(self) -> None:
        """Nothing of the worker that it was is left to it."""
        stay_silent()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (1, 2):
            os.dup2(nothing, fd)
        os.close(nothing)
        call_process(f"{'weights' if self._has_loaded else 'imports'}:{self._title}")

    def _serve(self, children: Children) -> Seat:
        """Takes orders and tells of ends; returns in the workers, never here."""
        while True:
            ready, _, _ = select.select([self._link.fileno(), children.fd], [], [])
            try:
                if children.fd in ready:
                    for exited in children.ended():
                        self._link.sendall(encode(exited))
                if self._link.fileno() in ready and (seat := self._obey()) is not None:
                    return seat
            except _ForksEnd as error:
                self._why_not = str(error)
                self._decline()
                _end()
            except (ConnectionError, _CannotFork):
                _end()

    def _obey(self) -> Seat | None:
        """Takes an order: the seat of the worker that it makes, in that one."""
        data, fds, _, _ = socket.recv_fds(self._link, _PACKET, WORKER_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            _end()
        if why_not := threads():  # what was imported may start some late
            self._why_not = why_not
            self._decline()
            _end()
        for order, _ in FrameReader().feed(data):
            if isinstance(order, Fork):
                self._title = order.title
                if self._fork(order.worker_id):
                    return _seated(fds)
        for fd in fds:
            os.close(fd)
        return None

    def _fork(self, worker_id: int) -> bool:
        """Whether this is the new process, of which the front knows then.

        Raises:
            _CannotFork: there is none.
            _ForksEnd: it has ended without a word to the front.
        """
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        try:
            hears, says = os.pipe()
            try:
                pid = os.fork()
            except OSError:
                os.close(hears)
                os.close(says)
                raise
        except OSError as error:
            raise _CannotFork(f"no process can be forked: {error.strerror}") from error
        if pid:
            os.close(says)
            _hear(pid, hears)
            return False
        os.close(hears)
        os.setsid()
        call_process(self._title)
        with self._link:
            self._link.sendall(encode(Forked(worker_id, os.getpid())))
        os.write(says, b"!")
        os.close(says)
        return True


def _hear(pid: int, hears: int) -> None:
    """Waits until a fork has told the front of itself; what libraries do in each fork may keep it from that.

    Raises:
        _ForksEnd: it has ended before, and was waited for.
    """
    fork = HeldProcess(pid)
    try:
        waits = select.poll()
        waits.register(hears, select.POLLIN)
        if fork.fd is not None:  # the pipe's other end may be held by what the fork has forked
            waits.register(fork.fd, select.POLLIN)
        if hears in dict(waits.poll()) and os.read(hears, 1):
            return
    finally:
        os.close(hears)
        fork.close()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    raise _ForksEnd(f"its forks end at once ({how})")


def _traces() -> Traces | None:
    with suppress(OSError):
        return Traces.now()
    return None


def _obstacles(before: Traces | None, found: Imported, loaded: Service | None = None) -> str:
    """Why an import, or what was loaded then, cannot be shared; empty: it can."""
    file = getattr(found.module, "__file__", None)
    if before is not None:
        with suppress(OSError):
            folder = os.path.dirname(file) if file else None
            said = list(before.obstacles(folder))
            return "; ".join([*said, *(() if loaded is None else obstacles_of_a_load(loaded, folder))])
    return "what it left behind cannot be seen: there is no /proc"


def _seated(fds: list[int]) -> Seat:
    channel, out, err, life, crash = fds
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    return Seat.at(channel, life, crash)


def _torchs_threads() -> int | None:
    """The number of torch's threads, if it is there."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _with_one_thread(spec: ModelSpec) -> ModelSpec:
    if spec.execution.threads is None:
        return spec
    return msgspec.structs.replace(spec, execution=msgspec.structs.replace(spec.execution, threads=1))


def _torchs_seed_is_chosen() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and is_chosen(torch.default_generator.initial_seed())


def _end() -> NoReturn:
    kill_members(os.getpid())
    os._exit(0)
