"""The template ("zygote"): a process that has imported torch and the handler package, and forks workers.

A fork costs milliseconds where an import costs two seconds, and the forks share the libraries' memory. The
rule that makes it safe: the template stays single-threaded and runs no torch operator, for an operator at
default threads would leave OpenMP's pool behind and make the forked children hang. It knows nothing of
models; it forks, and reports how its children end.
"""

from __future__ import annotations

import argparse
import array
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import weakref

from torchkeeper.machine.parent import end_with
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import WORKER_FDS, Fork, Forked, TemplateReady, encode
from torchkeeper.worker import main as worker_main
from torchkeeper.worker.children import Children
from torchkeeper.worker.collection import no_collection
from torchkeeper.worker.fork import UNHEARD, call_process, reseed
from torchkeeper.worker.life_pipe import EXIT_ORPHANED

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
    """Imports what all workers share; returns a sentence for each thing that could not be had.

    Garbage is collected once, at the end: imports make little, and a look for it goes through all there is.
    """
    warnings = []
    with no_collection():
        for name in _SHARED_IMPORTS:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - a broken library raises anything
                warnings.append(f"workers start without {name}: {error}")
        gc.collect()
        gc.freeze()  # what is left stays, and nobody looks through it again
    threads = _thread_count()
    if threads > 1:
        warnings.append(f"the template has {threads} threads after its imports; forked workers may hang")
    return tuple(warnings)


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return 1


class Template:
    """Forks on request and reports exits, over one socket to the front."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = FrameReader()
        self._fds: list[int] = []
        self._children = Children()

    def run(self, warnings: tuple[str, ...]) -> None:
        """Serves until the front closes the socket."""
        for ignored in UNHEARD:
            signal.signal(ignored, signal.SIG_IGN)
        self._sock.sendall(encode(TemplateReady(os.getpid(), warnings)))
        while True:
            ready, _, _ = select.select([self._sock.fileno(), self._children.fd], [], [])
            if self._children.fd in ready:
                for exited in self._children.ended():
                    self._sock.sendall(encode(exited))
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
                count = WORKER_FDS + message.shares
                given = self._fds[:count]
                del self._fds[:count]
                self._fork(message, given)
        return bool(data)

    def _fork(self, order: Fork, fds: list[int]) -> None:
        channel, out, err, life, crash, *link = fds
        signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)  # until the fork can hear them
        pid = os.fork()
        if pid == 0:
            worker_main.live(
                (channel, life, crash),
                lambda: self._become_worker(order, out, err),
                title=order.title,
                link=link[0] if link else None,
            )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
        for fd in fds:
            os.close(fd)
        self._sock.sendall(encode(Forked(order.worker_id, pid)))

    def _become_worker(self, order: Fork, out: int, err: int) -> None:
        os.setsid()
        self._children.forget()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._sock.close()
        for fd in self._fds:  # those of the next orders too
            os.close(fd)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        # The template's own know of its descriptors that they are files, say, and fail on a pipe.
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.BufferedWriter(io.FileIO(fd, "w", closefd=False))) for fd in (1, 2)
        )
        call_process(order.title)
        reseed()
        _leave_finalizers()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)


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
    if not end_with(arguments.parent, signal.SIGKILL):
        sys.exit(EXIT_ORPHANED)
    os.set_inheritable(arguments.socket, False)
    warnings = import_shared()
    with socket.socket(fileno=arguments.socket) as sock:
        sock.setblocking(True)
        Template(sock).run(warnings)


if __name__ == "__main__":
    main()
