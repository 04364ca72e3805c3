"""The worker's loop: load a model, then batch after batch until told to stop or left alone.

Runs in a child process, either forked from the template or, with `python -m torchkeeper.worker.main`,
spawned afresh. It owns the worker's end of the channel. Standard output and error are logs and nothing
else. When the front goes away, the life pipe closes and the worker leaves, also in mid-computation.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from torchkeeper.deadlines import WORKER_STOP
from torchkeeper.handler.safe_text import safe_str
from torchkeeper.machine.allocator import keep_freed_memory
from torchkeeper.sandbox.confine import confine, separate
from torchkeeper.wire.frames import (
    Batch,
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
from torchkeeper.wire.messages import FREE, ModelSpec, Reply
from torchkeeper.worker.blame import Blame, cause_of, traceback_of
from torchkeeper.worker.channel import Channel
from torchkeeper.worker.crash_pipe import tell_of_crashes
from torchkeeper.worker.fork import bound_threads
from torchkeeper.worker.life_pipe import EXIT_ORPHANED, end_with_the_front, watch_life
from torchkeeper.worker.loader import load
from torchkeeper.worker.model_template import ModelTemplate, Seat
from torchkeeper.worker.printed import listening
from torchkeeper.worker.replies import failure_of, log_traceback
from torchkeeper.worker.service import Service, chosen, fault_in

#: Exit codes of a worker, as the front reports them; its channel and its life pipe have others.
EXIT_STOPPED = 0
EXIT_LOAD_FAILED = 3

#: Seconds of a worker's grace that executors get for what they have begun.
_EXECUTORS = 1.0

T = TypeVar("T")


class _Ended(Exception):
    """The worker's life is over before it has begun to answer."""

    def __init__(self, code: int) -> None:
        self.code = code


def serve(seat: Seat, template: ModelTemplate | None = None) -> int:
    """Loads the model that the front names and answers batches; returns the exit code.

    With a template this process may become that: then it is its forks that go on here.
    """
    first, sandbox, confinement = seat.channel.receive(), FREE, None
    if first is not None and isinstance(first[0], Confine):
        sandbox = first[0].sandbox
        confinement = confine(sandbox)
    if template is None:
        watch_life(seat.life)  # a thread from before would be free
    if confinement is not None:
        first = seat.channel.receive()
    try:
        order, begin, imported, service = _order(first), time.perf_counter(), None, None
        if template is None:
            bound_threads(order.spec.threads)
        else:
            imported = _tried(seat.channel, order, lambda: template.imported(order.spec, seat.life))
            if order.shares_weights:
                service = _tried(seat.channel, order, lambda: template.loaded(order, seat.life, imported))
            own = template.run(seat, lambda: separate(sandbox, confinement))
            watch_life(own.life)
            if own is not seat:
                order, begin = _order(own.channel.receive()), time.perf_counter()
                if service is not None:
                    service.drain()  # what `initialize` has recorded, the first worker tells
            seat = own
            template.settle_threads(order.spec)
        _pin(order.spec)
        if service is None:
            service = _tried(seat.channel, order, lambda: load(order.spec, order.max_response_size, imported))
        elif order.spec.execution.threads is not None:
            service.execution["threads"] = order.spec.execution.threads
    except _Ended as end:
        return end.code
    seconds = time.perf_counter() - begin
    torch = str(getattr(sys.modules.get("torch"), "__version__", ""))
    seat.channel.send(
        encode(
            Loaded(
                *(os.getpid(), seconds, service.signature, torch, confinement),
                *(service.execution, service.together),
            )
        )
    )
    return _answer_batches(seat.channel, service, _blame(order.spec))


def _order(frame: tuple[Message, bytes] | None) -> Load:
    if frame is None or not isinstance(frame[0], Load):
        raise _Ended(EXIT_ORPHANED)
    return frame[0]


def _pin(spec: ModelSpec) -> None:
    if spec.cores:
        try:
            os.sched_setaffinity(0, spec.cores)
        except OSError as error:  # a core that is not this process's any more
            print(f"The worker is not pinned to cores {spec.cores}: {error}", file=sys.stderr)


def _blame(spec: ModelSpec) -> Blame:
    return Blame(Path(spec.model_dir), spec.ignored_requirements)


def _tried(channel: Channel, order: Load, step: Callable[[], T]) -> T:
    """What a step of the load returns.

    Raises:
        _Ended: it failed, and the front knows why.
    """
    try:
        with listening() as printed:
            return step()
    except (Exception, SystemExit) as error:
        cause = cause_of(error)
        if isinstance(error, SystemExit) and not isinstance(error.code, str) and (said := printed()):
            cause += f"; before that it printed: {safe_str(said, 500)}"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        channel.send(encode(LoadFailed(cause, *_blame(order.spec).of(error), traceback_of(error))))
        raise _Ended(EXIT_LOAD_FAILED) from error


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
        frame = encode_replies(
            batch.batch_id, outcomes, samples, seconds, service.too_large, service.uncompiled()
        )
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


def live(
    fds: Sequence[int],
    prepare: Callable[[], None] = lambda: None,
    *,
    title: str = "",
    link: int | None = None,
) -> NoReturn:
    """The whole life of a worker; ends the process, whatever happens.

    Args:
        fds: its ends of the channel, the life pipe and the pipe for its last traceback.
        prepare: what is to be done first.
        title: the name of forks of it.
        link: the socket over which it is asked for forks, if it may become the template of its version.
    """
    code = 1
    try:
        prepare()
        template = None if link is None else ModelTemplate(socket.socket(fileno=link), title)
        code = _run(Seat.at(*fds), template)
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


def _run(seat: Seat, template: ModelTemplate | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Both are TextIOWrapper here. A line that has no form in UTF-8 must not fail who prints it.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    _log()
    keep_freed_memory()
    tell_of_crashes(seat.crash)
    try:
        if seat.life in select.select([seat.kept, seat.life], [], [])[0]:
            end_with_the_front(seat.life)
        return serve(seat, template)
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
    parser.add_argument("--link", type=int)
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    fds = arguments.channel, arguments.life, arguments.crash
    live(fds, title=arguments.title, link=arguments.link)


if __name__ == "__main__":
    main()
