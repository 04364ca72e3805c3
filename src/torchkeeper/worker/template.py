"""The template ("zygote"): a process that has imported torch and the handler package, and forks workers.

A fork costs milliseconds where an import costs two seconds, and the forks share the libraries' memory. The
rule that makes it safe: the template stays single-threaded and runs no torch operator, for an operator at
default threads would leave OpenMP's pool behind and make the forked children hang. It knows nothing of
models; it forks, and reports how its children end.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import gc
import importlib
import io
import os
import random
import select
import signal
import socket
import sys
import weakref

from torchkeeper.machine.process_group import kill_members
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import WORKER_FDS, Exited, Fork, Forked, TemplateReady, encode
from torchkeeper.worker import main as worker_main

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
#: The front alone decides when workers end: the template does not hear these; its forks do, from the first.
_UNHEARD = (signal.SIGINT, signal.SIGTERM)
#: What workers share; absent ones are the handler's own business.
_SHARED_IMPORTS = (
    "numpy",
    "torch",
    "PIL.Image",
    "torchkeeper.handler.pixels",
    "torchkeeper.handler.vision",
    "torchkeeper.envelope.kservev2",
)


def import_shared() -> tuple[str, ...]:
    """Imports what all workers share; returns a sentence for each thing that could not be had."""
    warnings = []
    for name in _SHARED_IMPORTS:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken library raises anything
            warnings.append(f"workers start without {name}: {error}")
    threads = _thread_count()
    if threads > 1:
        warnings.append(f"the template has {threads} threads after its imports; forked workers may hang")
    gc.collect()
    gc.freeze()
    return tuple(warnings)


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return 1


def die_with_parent(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends (Linux); leaves if that is already so."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(worker_main.EXIT_ORPHANED)


class Template:
    """Forks on request and reports exits, over one socket to the front."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = FrameReader()
        self._fds: list[int] = []
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self, warnings: tuple[str, ...]) -> None:
        """Serves until the front closes the socket."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for ignored in _UNHEARD:
            signal.signal(ignored, signal.SIG_IGN)
        self._sock.sendall(encode(TemplateReady(os.getpid(), warnings)))
        while True:
            ready, _, _ = select.select([self._sock.fileno(), self._wake_read], [], [])
            if self._wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._report_exits()
            if self._sock.fileno() in ready and not self._take_orders():
                return

    def _take_orders(self) -> bool:
        data, ancillary, _, _ = self._sock.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._fds.extend(fds)
        for message, _ in self._reader.feed(data):
            if isinstance(message, Fork):
                given = self._fds[:WORKER_FDS]
                del self._fds[:WORKER_FDS]
                self._fork(message, given)
        return bool(data)

    def _fork(self, order: Fork, fds: list[int]) -> None:
        channel, out, err, life, crash = fds
        signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)  # until the fork can hear them
        pid = os.fork()
        if pid == 0:
            worker_main.live((channel, life, crash), lambda: self._become_worker(order, out, err))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _UNHEARD)
        for fd in fds:
            os.close(fd)
        self._sock.sendall(encode(Forked(order.worker_id, pid)))

    def _become_worker(self, order: Fork, out: int, err: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for restored in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(restored, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._sock.close()
        for fd in (self._wake_read, self._wake_write, *self._fds):  # those of the next orders too
            os.close(fd)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        # The template's own know of its descriptors that they are files, say, and fail on a pipe.
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.BufferedWriter(io.FileIO(fd, "w", closefd=False))) for fd in (1, 2)
        )
        ctypes.CDLL(None).prctl(_PR_SET_NAME, order.title.encode()[:15])
        _reseed()
        _leave_finalizers()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _UNHEARD)

    def _report_exits(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            kill_members(ended.si_pid)
            pid, status, used = os.wait4(ended.si_pid, 0)
            self._sock.sendall(encode(Exited(pid, os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024)))


def _reseed() -> None:
    """Forks share the parent's generators; each worker needs its own stream."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "big"))
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.seed()


def _leave_finalizers() -> None:
    """What the template's imports made, temporary folders say, goes with the template and not with a fork."""
    for finalizer in tuple(weakref.finalize._registry):  # type: ignore[attr-defined]  # there is no public list
        finalizer.atexit = False


def main() -> None:
    """Entry of the template process."""
    parser = argparse.ArgumentParser(prog="torchkeeper.worker.template")
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    os.set_inheritable(arguments.socket, False)
    warnings = import_shared()
    with socket.socket(fileno=arguments.socket) as sock:
        sock.setblocking(True)
        Template(sock).run(warnings)


if __name__ == "__main__":
    main()
