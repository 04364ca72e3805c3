"""The worker's loop: load a model, then batch after batch until told to stop or left alone.

Runs in a child process, either forked from the template or, with `python -m torchkeeper.worker.main`,
spawned afresh. It owns the worker's end of the channel. Standard output and error are logs and nothing
else. When the front goes away, the life pipe closes and the worker leaves, also in mid-computation.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from torchkeeper.deadlines import WORKER_STOP
from torchkeeper.handler.safe_text import safe_str
from torchkeeper.machine.process_group import kill_members
from torchkeeper.machine.signals import WHERE
from torchkeeper.sandbox.confine import confine
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    ANY_HEADER,
    Batch,
    Cancel,
    Confine,
    HandlerLeft,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Outcome,
    Stop,
    decode_batch,
    encode,
    encode_parts,
    encode_replies,
)
from torchkeeper.wire.messages import Reply
from torchkeeper.worker.blame import Blame, cause_of, traceback_of
from torchkeeper.worker.loader import load
from torchkeeper.worker.printed import listening
from torchkeeper.worker.replies import failure_of, log_traceback
from torchkeeper.worker.service import Service, chosen, fault_in

#: Exit codes of a worker, as the front reports them.
EXIT_STOPPED = 0
EXIT_LOAD_FAILED = 3
EXIT_ORPHANED = 4
#: That of a process which a handler forked, and which came back from it.
EXIT_FORKED = 5

_CHUNK = 1 << 18
#: Seconds of a worker's grace that executors get for what they have begun.
_EXECUTORS = 1.0


class Channel:
    """The worker's end of the socket pair: blocking, one reader, frames in and out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: False in processes that a handler forked.
        self.ours = True
        os.register_at_fork(after_in_child=self._disown)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._reader = FrameReader(ANY_HEADER)
        self._waiting: deque[tuple[Message, bytes]] = deque()

    def send(self, frame: bytes) -> None:
        """Writes one whole frame; a process that a handler forked has nothing to say, and ends."""
        if not self.ours:
            os._exit(EXIT_FORKED)
        self._sock.sendall(frame)

    def _disown(self) -> None:
        self.ours = False

    def receive(self) -> tuple[Message, bytes] | None:
        """The next frame; None when the front has closed the channel."""
        while not self._waiting:
            data = self._sock.recv(_CHUNK)
            if not data:
                return None
            self._waiting.extend(self._reader.feed(data))
        return self._waiting.popleft()

    def cancelled(self, batch_id: int) -> set[int]:
        """Indexes of requests of this batch whose clients left, among the frames that already wait."""
        while self._poll.poll(0):
            data = self._sock.recv(_CHUNK)
            if not data:
                break
            self._waiting.extend(self._reader.feed(data))
        indexes: set[int] = set()
        for message, _ in self._waiting:
            if isinstance(message, Cancel) and message.batch_id == batch_id:
                indexes.update(message.indexes)
        return indexes


def watch_life(life_fd: int) -> None:
    """Starts the thread that ends this process and its descendants when the front closes the life pipe."""
    threading.Thread(target=_end_with_the_front, args=(life_fd,), name="life", daemon=True).start()


def _end_with_the_front(life_fd: int) -> NoReturn:
    os.read(life_fd, 1)
    kill_members(os.getpid())  # if it is the group's leader, this process too
    os._exit(EXIT_ORPHANED)


def serve(channel: Channel, watch: Callable[[], None] = lambda: None) -> int:
    """Loads the model that the front names and answers batches; returns the exit code.

    `watch` is called once the process is confined: a thread from before would be free.
    """
    first, confinement = channel.receive(), None
    if first is not None and isinstance(first[0], Confine):
        confinement = confine(first[0].sandbox)
    watch()
    if confinement is not None:
        first = channel.receive()
    if first is None or not isinstance(first[0], Load):
        return EXIT_ORPHANED
    spec, begin = first[0].spec, time.perf_counter()
    if spec.threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(spec.threads)  # which may begin some
    blame = Blame(Path(spec.model_dir), spec.ignored_requirements)
    try:
        with listening() as printed:
            service = load(spec, first[0].max_response_size)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - user code is imported and called here
        cause = cause_of(error)
        if isinstance(error, SystemExit) and not isinstance(error.code, str) and (said := printed()):
            cause += f"; before that it printed: {safe_str(said, 500)}"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        channel.send(encode(LoadFailed(cause, *blame.of(error), traceback_of(error))))
        return EXIT_LOAD_FAILED
    seconds = time.perf_counter() - begin
    torch = str(getattr(sys.modules.get("torch"), "__version__", ""))
    channel.send(
        encode(Loaded(os.getpid(), seconds, service.signature, torch, confinement, service.execution))
    )
    return _answer_batches(channel, service, blame)


def _answer_batches(channel: Channel, service: Service, blame: Blame) -> int:
    while True:
        frame = channel.receive()
        if frame is None:
            return EXIT_ORPHANED
        message, raw = frame
        if isinstance(message, Batch):
            try:
                _answer(channel, service, message, raw)
            except SystemExit as leaving:
                if channel.ours:
                    log_traceback(leaving)
                    channel.send(encode(HandlerLeft(cause_of(leaving), *blame.of(leaving))))
                raise
        elif isinstance(message, Stop):
            _tell_handler()
            return EXIT_STOPPED


def _tell_handler() -> None:
    """A handler's own function for SIGTERM runs now, with nothing in hand."""
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN):
        return
    try:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0)  # the interpreter runs it between two steps, so one must follow
    except Exception:  # noqa: BLE001 - user code
        traceback.print_exc()


def _answer(channel: Channel, service: Service, batch: Batch, raw: bytes) -> None:
    """Answers a batch, whatever its handler and its clients came up with."""
    begin = time.perf_counter()
    try:
        outcomes = _outcomes(channel, service, batch, raw)
        samples = service.drain()
        seconds = time.perf_counter() - begin
        frame = encode_replies(batch.batch_id, outcomes, samples, seconds, service.too_large)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a batch must not cost the worker
        log_traceback()
        failures = [failure_of(error, fault_in(batch.envelope))] * len(batch.requests)
        frame = encode_replies(batch.batch_id, failures, (), time.perf_counter() - begin)
    channel.send(frame)


def _outcomes(channel: Channel, service: Service, batch: Batch, raw: bytes) -> Sequence[Outcome]:
    gone = channel.cancelled(batch.batch_id)
    inputs = decode_batch(batch, raw)
    if not gone and inputs:
        return service.predict(inputs, _Outbox(channel, batch.batch_id))
    outcomes: list[Outcome] = [None] * len(inputs)
    places = [place for place in range(len(inputs)) if place not in gone]
    if places:
        outbox = chosen(_Outbox(channel, batch.batch_id), places, len(inputs))
        answers = service.predict([inputs[place] for place in places], outbox)
        for place, answer in zip(places, answers, strict=True):
            outcomes[place] = answer
    return outcomes


class _Outbox:
    """The way from a batch that is being computed to the front."""

    def __init__(self, channel: Channel, batch_id: int) -> None:
        self._channel = channel
        self._batch_id = batch_id

    def send(self, parts: Sequence[Reply | None]) -> None:
        self._channel.send(encode_parts(self._batch_id, parts))

    def gone(self) -> set[int]:
        return self._channel.cancelled(self._batch_id)


def live(fds: Sequence[int], prepare: Callable[[], None] = lambda: None) -> NoReturn:
    """The whole life of a worker; ends the process, whatever happens.

    Args:
        fds: its ends of the channel, the life pipe and the pipe for its last traceback.
        prepare: what is to be done first.
    """
    code = 1
    try:
        prepare()
        code = _run(*fds)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - process main: nothing may escape into a template's stack
        sys.excepthook(*sys.exc_info())
    finally:
        _leave(code)


def _log() -> None:
    """Handlers' own log lines are model_log's, as in TorchServe; what torchkeeper warns of goes to stderr.

    There it becomes a warning, which no log level but `error` hides.
    """
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("torchkeeper").addHandler(warnings)
    for handler in logging.getLogger().handlers:
        handler.addFilter(
            lambda one: one.levelno < logging.WARNING or one.name.split(".")[0] != "torchkeeper"
        )


def _tell_of_crashes(fd: int) -> None:
    """Writes where the code is when a signal ends it or asks: what fits into the pipe, and nobody waits.

    What a process that a handler forks has to say is not about the worker.
    """
    os.set_blocking(fd, False)
    faulthandler.enable(fd)
    faulthandler.register(WHERE, fd, all_threads=True)

    def tell_in_the_log() -> None:
        if faulthandler.is_enabled():
            faulthandler.enable(2)

    os.register_at_fork(after_in_child=tell_in_the_log)


def _run(channel_fd: int, life_fd: int, crash_fd: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Both are TextIOWrapper here. A line that has no form in UTF-8 must not fail who prints it.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    _log()
    for fd in (channel_fd, life_fd, crash_fd):
        os.set_inheritable(fd, False)
    _tell_of_crashes(crash_fd)
    # Closed with the process, not before: to the front a closed channel is a worker that can answer nobody.
    sock = socket.socket(fileno=os.dup(channel_fd))
    sock.setblocking(True)
    try:
        if life_fd in select.select([sock.fileno(), life_fd], [], [])[0]:
            _end_with_the_front(life_fd)
        return serve(Channel(sock), lambda: watch_life(life_fd))
    except (BrokenPipeError, ConnectionResetError):
        return EXIT_ORPHANED


def _end_executors() -> None:
    for end in reversed(getattr(threading, "_threading_atexits", ())):
        end()


def _leave(code: int) -> NoReturn:
    """Ends this process as an interpreter ends, but in time.

    Executors are shut down, then `atexit` functions run; among them are multiprocessing's, which ends
    daemonic children and waits for the others, temporary folders' and logging's. Threads are not waited for:
    one that a handler never ends would cost the worker its whole grace, and no function would be reached.
    """

    def too_late() -> None:
        time.sleep(WORKER_STOP)
        os._exit(code & 0xFF)

    try:
        threading.Thread(target=too_late, name="end", daemon=True).start()
        executors = threading.Thread(target=_end_executors, name="executors", daemon=True)
        executors.start()
        executors.join(_EXECUTORS)
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - process main
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code & 0xFF)


def main() -> None:
    """Entry of a worker that is spawned afresh."""
    parser = argparse.ArgumentParser(prog="torchkeeper.worker.main")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--life", type=int, required=True)
    parser.add_argument("--crash", type=int, required=True)
    arguments = parser.parse_args()
    live((arguments.channel, arguments.life, arguments.crash))


if __name__ == "__main__":
    main()
