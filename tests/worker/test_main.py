"""The worker's loop in processes of its own: frames in and out, and every way in which its life may end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_outbox import request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.wire.frames import (
    Cancel,
    HandlerLeft,
    Loaded,
    LoadFailed,
    Stop,
    decode_batch,
    encode,
    encode_batch,
)
from torchkeeper.wire.messages import Reply
from torchkeeper.worker.channel import Channel
from torchkeeper.worker.life_pipe import EXIT_ORPHANED
from torchkeeper.worker.main import EXIT_LOAD_FAILED, EXIT_STOPPED
from workers import Worker

FINE = "def handle(data, context):\n    return data and [row['body'] for row in data]\n"

# --- the channel -----------------------------------------------------------------------------------------


@contextmanager
def channel() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        theirs.settimeout(60)
        yield Channel(theirs), ours


@given(st.lists(st.integers(1, 40), max_size=6))
def test_frames_come_whole_and_in_order_however_they_are_cut(cuts: list[int]) -> None:
    data = encode_batch(1, [request(b"x" * 20)]) + encode(Cancel(1, (0,))) + encode(Stop())
    with channel() as (reader, front):
        for cut in cuts:
            front.sendall(data[:cut])
            data = data[cut:]
            reader.cancelled(1)  # it takes what there is, half frames too
        front.sendall(data)
        front.shutdown(socket.SHUT_WR)
        first, second, third = (reader.receive() for _ in range(3))
        assert first is not None
        assert decode_batch(first[0], first[1]) == [request(b"x" * 20)]  # type: ignore[arg-type]
        assert (second, third) == ((Cancel(1, (0,)), b""), (Stop(), b""))
        assert reader.receive() is None
        assert reader.cancelled(1) == set(), "a front that is gone has nothing more to say"


def test_who_left_is_told_of_ones_own_batch_and_nothing_is_taken_out_of_the_line() -> None:
    with channel() as (reader, front):
        assert reader.cancelled(1) == set()
        frames = [Cancel(1, (0, 2)), Cancel(2, (1,)), Cancel(1, (5,)), Stop()]
        front.sendall(b"".join(map(encode, frames)))
        assert reader.cancelled(1) == {0, 2, 5}
        assert reader.cancelled(2) == {1}
        assert [reader.receive() for _ in frames] == [(frame, b"") for frame in frames]


def test_a_frame_that_is_sent_arrives() -> None:
    with channel() as (writer, front):
        writer.send(encode(Stop()))
        assert front.recv(1000) == encode(Stop())


# --- the loop --------------------------------------------------------------------------------------------


@contextmanager
def working(folder: Path, source: str) -> Iterator[Worker]:
    worker = Worker(folder, source)
    try:
        yield worker
    finally:
        worker.close()


def test_it_loads_answers_and_leaves_when_told_to(tmp_path: Path) -> None:
    source = "import atexit\natexit.register(print, 'at exit')\n" + FINE
    with working(tmp_path, source) as worker:
        assert isinstance(worker.loaded, Loaded)
        assert worker.loaded.pid == worker.process.pid
        assert worker.loaded.torch == ""
        for body in (b"one", b"two"):
            (outcome,) = worker.ask([request(body)])
            assert isinstance(outcome, Reply)
            assert outcome.body == body
        assert worker.stop() == EXIT_STOPPED
        assert worker.log.read_text() == "at exit\n"


def test_requests_whose_clients_left_before_their_batch_began_are_not_computed(tmp_path: Path) -> None:
    source = FINE.replace("[row['body'] for row in data]", "[str(len(data))] * len(data)")
    with working(tmp_path, source) as worker:
        # In one piece, so that the worker finds them together.
        frames = encode_batch(1, [request(b"x", number=number) for number in range(3)])
        worker.send(frames + encode(Cancel(1, (1,))) + encode(Cancel(7, (0,))))
        outcomes, _, _ = worker.answer()
        assert [outcome and getattr(outcome, "body", None) for outcome in outcomes] == [b"2", None, b"2"]
        worker.send(encode_batch(2, [request(b"x")]) + encode(Cancel(2, (0,))))
        outcomes, samples, _ = worker.answer()
        assert (outcomes, samples) == ([None], ()), "nobody is left, nothing is asked"
        assert worker.stop() == EXIT_STOPPED


def test_a_handlers_own_function_for_sigterm_runs_before_it_leaves(tmp_path: Path) -> None:
    source = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('told'))\n" + FINE
    with working(tmp_path, source) as worker:
        assert worker.stop() == EXIT_STOPPED
        assert worker.log.read_text() == "told\n"


@pytest.mark.parametrize(
    ("source", "code", "log"),
    [
        ("raise ValueError('no weights')\n", EXIT_LOAD_FAILED, "ValueError: no weights"),
        ("import sys\nsys.exit('no licence')\n", EXIT_LOAD_FAILED, "SystemExit: no licence"),
        (
            "import sys\nprint('no\\n  GPU \\n')\nsys.exit(1)\n",
            EXIT_LOAD_FAILED,
            "SystemExit: 1; before that it printed: GPU",
        ),
        ("import sys\nsys.exit()\n", EXIT_LOAD_FAILED, "SystemExit"),
        (
            "import argparse\nasks = argparse.ArgumentParser('h.py')\n"
            "asks.add_argument('--size', required=True)\nasks.parse_args([])\n",
            EXIT_LOAD_FAILED,
            "SystemExit: 2; before that it printed: h.py: error: the following arguments are required: "
            "--size",
        ),
        ("def handle(:\n", EXIT_LOAD_FAILED, "SyntaxError: invalid syntax (h.py, line 1)"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_and_ends_it(
    tmp_path: Path, source: str, code: int, log: str
) -> None:
    with working(tmp_path, source) as worker:
        assert isinstance(worker.loaded, LoadFailed)
        assert worker.loaded.cause == log
        assert worker.loaded.place.startswith("h.py, line ")
        assert log.split(":")[0] in worker.loaded.traceback
        assert worker.process.wait(60) == code


@pytest.mark.parametrize(
    ("leave", "code", "said"),
    [
        ("sys.exit(5)", 5, "SystemExit: 5"),
        ("sys.exit()", 0, "SystemExit"),
        ("sys.exit('in words')", 1, "SystemExit: in words"),
        ("os._exit(9)", 9, None),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, None),
    ],
)
def test_a_handler_that_leaves_has_its_code_and_says_why(
    tmp_path: Path, leave: str, code: int, said: str | None
) -> None:
    source = f"import os, signal, sys\n\ndef handle(data, context):\n    if data:\n        {leave}\n"
    with working(tmp_path, source) as worker:
        worker.send(encode_batch(1, [request(b"x")]))
        assert worker.process.wait(60) == code
        log = worker.log.read_text()
        if said is None:
            assert log == ""
        else:
            assert worker.last_words() == HandlerLeft(said, "h.py, line 5, in handle")
            assert re.search(rf'h\.py", line 5, in handle\n(.*\n)+{said}\n', log), log


def test_a_process_that_a_handler_forked_leaves_without_a_word(tmp_path: Path) -> None:
    source = (
        "import os, sys\n\ndef handle(data, context):\n    if data:\n        pid = os.fork()\n"
        "        if not pid:\n            sys.exit(6)\n"
        "        return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))]\n"
    )
    with working(tmp_path, source) as worker:
        worker.send(encode_batch(1, [request(b"x")]))
        ((answer,), _, _) = worker.answer()
        assert answer.body == b"6"
        assert worker.stop() == EXIT_STOPPED
        assert worker.log.read_text() == ""


def test_functions_for_the_end_run_although_a_thread_never_ends(tmp_path: Path) -> None:
    source = (
        "import atexit, threading, time\natexit.register(print, 'at exit')\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
    )
    with working(tmp_path, source + FINE) as worker:
        assert worker.stop() == EXIT_STOPPED
        assert worker.log.read_text() == "at exit\n"


# --- a front that goes away ------------------------------------------------------------------------------


@contextmanager
def spawned(*, leader: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, int]]:
    """A worker that has been told nothing yet; the front's ends of its channel and its life pipe."""
    ours, theirs = socket.socketpair()
    read, life = os.pipe()
    with ours, theirs, open(os.devnull, "wb") as null:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torchkeeper.worker.main"),
                *("--channel", str(theirs.fileno()), "--life", str(read), "--crash", str(null.fileno())),
            ],
            pass_fds=(theirs.fileno(), read, null.fileno()),
            start_new_session=leader,
        )
        theirs.close()
        os.close(read)
        with os.fdopen(life, "wb"), process:
            try:
                yield process, ours, life
            finally:
                process.kill()


def hang_up(life: int) -> None:
    """Closes a pipe, and leaves its number to whoever will close that."""
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), life)


@pytest.mark.parametrize("first", [b"", encode(Stop())], ids=["nothing", "no order to load"])
def test_who_is_never_told_to_load_leaves(first: bytes) -> None:
    with spawned() as (process, front, _):
        front.sendall(first)
        front.shutdown(socket.SHUT_WR)
        assert process.wait(60) == EXIT_ORPHANED


@pytest.mark.parametrize(("leader", "code"), [(False, EXIT_ORPHANED), (True, -signal.SIGKILL)])
def test_a_front_that_dies_takes_its_workers_along(leader: bool, code: int) -> None:
    with spawned(leader=leader) as (process, _, life):
        hang_up(life)
        assert process.wait(60) == code


def test_a_worker_that_computes_leaves_too(tmp_path: Path) -> None:
    source = "import time\n\ndef handle(data, context):\n    if data:\n        time.sleep(1000)\n"
    with working(tmp_path, source) as worker:
        worker.send(encode_batch(1, [request(b"x")]))
        hang_up(worker._life)
        assert worker.process.wait(60) == EXIT_ORPHANED
