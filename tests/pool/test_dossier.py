"""What is told of a worker's end: the same facts to all, paths and other people's lines only to some."""

from __future__ import annotations

import signal

import pytest

from torchkeeper.pool.dossier import Dossier, describe_end, is_crash
from torchkeeper.wire.frames import HandlerLeft, Leaving, LoadFailed
from torchkeeper.wire.remedies import OUT_OF_MEMORY

CRASH = """Fatal Python error: Segmentation fault

Current thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/tmp/models/abc/net/layers.py", line 7 in forward
  File "/tmp/models/abc/handler.py", line 12 in handle
  File "/opt/torchkeeper/worker/service.py", line 170 in _computed

Thread 0x00007f0000000002 (most recent call first):
  File "/tmp/models/abc/handler.py", line 99 in elsewhere

Extension modules: numpy.core (total: 1)
"""


def dossier_of(
    returncode: int | None = 7,
    *,
    words: Leaving | None = None,
    verdict: str | None = None,
    oom: bool | None = None,
    stderr: tuple[str, ...] = (),
    crash: str = "",
) -> Dossier:
    return Dossier(
        worker="W-9000-m_1.0",
        model="m",
        model_dir="/tmp/models/abc",
        pid=42,
        returncode=returncode,
        words=words,
        verdict=verdict,
        oom=oom,
        crash=crash,
        stderr=stderr,
        in_flight=("id-1", "id-2"),
        peak_rss=123_400_000,
        lived=4.25,
        moment=1_800_000_000.0,
    )


@pytest.mark.parametrize(
    ("returncode", "oom", "words"),
    [
        (None, None, "the worker process ended"),
        (3, None, "the worker process left with exit code 3"),
        (-signal.SIGSEGV, None, "the worker process was killed by SIGSEGV"),
        (-250, None, "the worker process was killed by signal 250"),
        (
            -signal.SIGKILL,
            None,
            "the worker process was killed by SIGKILL, from outside or by the kernel's out-of-memory killer",
        ),
        (-signal.SIGKILL, False, "the worker process was killed by SIGKILL, from outside"),
        (
            -signal.SIGKILL,
            True,
            "the worker process was killed by SIGKILL, out of memory: the kernel has counted it",
        ),
    ],
)
def test_ends_in_words(returncode: int | None, oom: bool | None, words: str) -> None:
    assert describe_end(returncode, oom=oom) == words


@pytest.mark.parametrize(
    ("returncode", "crash"),
    [
        (0, True),
        (7, True),
        (-signal.SIGSEGV, True),
        (-signal.SIGABRT, True),
        (-signal.SIGKILL, False),
        (-signal.SIGTERM, False),
        (-signal.SIGINT, False),
        (None, False),
    ],
)
def test_who_ends_by_itself(returncode: int | None, crash: bool) -> None:
    assert is_crash(returncode) is crash


def test_where_a_signal_ended_it_is_the_last_line_of_the_models_own_code() -> None:
    dossier = dossier_of(-signal.SIGSEGV, crash=CRASH)
    assert dossier.place == "net/layers.py, line 7, in forward"
    assert dossier.outward == (
        "the worker process was killed by SIGSEGV (net/layers.py, line 7, in forward); "
        "it held 123 MB at most. "
        "Native code failed: look at lastFailure in the description of model m, and at installed versions."
    )
    alone = dossier_of(-signal.SIGSEGV, crash=CRASH.replace("/tmp/models/abc", "/srv/lib"))
    assert alone.place == "/usr/lib/python3.11/ctypes/__init__.py, line 519, in string_at"
    assert "(__init__.py, line 519, in string_at)" in alone.outward


def test_the_description_and_the_log_have_all_of_it_and_clients_nothing_of_what_is_others() -> None:
    dossier = dossier_of(-signal.SIGABRT, crash=CRASH, stderr=("secret token", "at 10.0.0.1:99"))
    described, record = dossier.described(3), dossier.record()
    assert described["stderr"] == ["secret token", "at 10.0.0.1:99"]
    assert described["requests"] == ["id-1", "id-2"]
    assert described["traceback"] == CRASH.splitlines()
    assert (described["signal"], described["times"], described["pid"]) == ("SIGABRT", 3, 42)
    assert (described["peakRss"], described["time"]) == (123_400_000, "2027-01-15T08:00:00Z")
    assert "exitCode" not in described
    for fact in ("SIGABRT", "secret token", "id-1, id-2", "line 519 in string_at", "123 MB", dossier.do):
        assert fact in record
    for secret in ("secret", "id-1", "/tmp", "/usr", "0x0000"):
        assert secret not in dossier.outward


def test_a_load_that_failed_says_what_the_exception_says() -> None:
    said = "FileNotFoundError: [Errno 2] No such file or directory: '/tmp/models/abc/net.pt'"
    words = LoadFailed(said, "handler.py, line 3, in initialize", "Pack it.", "Traceback ...\nit")
    dossier = dossier_of(3, words=words)
    assert dossier.cause == f"the model could not be loaded: {said}"
    assert dossier.outward == (
        "the model could not be loaded: FileNotFoundError: [Errno 2] No such file or directory: 'net.pt' "
        "(handler.py, line 3, in initialize). Pack it."
    )
    assert dossier.described(1)["traceback"] == ["Traceback ...", "it"]
    assert dossier.described(1)["exitCode"] == 3


@pytest.mark.parametrize(
    ("dossier", "known"),
    [
        (dossier_of(-signal.SIGKILL), None),
        (dossier_of(-signal.SIGKILL, oom=False), False),
        (dossier_of(-signal.SIGKILL, oom=True), True),
        (dossier_of(-signal.SIGKILL, stderr=("out of memory",)), None),
        (dossier_of(-signal.SIGABRT, stderr=("what(): std::bad_alloc",)), True),
        (dossier_of(-signal.SIGABRT, stderr=("std::bad_alloc", *["fine"] * 20)), None),
        (dossier_of(1, stderr=("torch.OutOfMemoryError: CUDA out of memory. Tried",)), True),
        (dossier_of(3, words=LoadFailed("MemoryError")), True),
        (dossier_of(3, words=LoadFailed("torch.OutOfMemoryError: CUDA out of memory.")), True),
        (dossier_of(3, words=LoadFailed("ValueError: x")), False),
        (dossier_of(-signal.SIGKILL, verdict="no answer within 1 s", stderr=("MemoryError",)), None),
    ],
)
def test_want_of_memory_is_said_only_where_it_is_known(dossier: Dossier, known: bool | None) -> None:
    assert dossier.no_memory is known
    assert (dossier.do == OUT_OF_MEMORY) is (known is True)
    assert ("out of memory" in dossier.cause or "MemoryError" in dossier.cause) is (known is True)


def test_a_handler_that_left_and_one_that_did_not_answer() -> None:
    left = dossier_of(1, words=HandlerLeft("SystemExit: no", "h.py, line 2, in handle"))
    assert left.cause == "the worker process left with exit code 1, since the handler left: SystemExit: no"
    assert "(h.py, line 2, in handle)" in left.outward
    late = dossier_of(-signal.SIGKILL, verdict="no answer within 1 s (response timeout)")
    assert late.outward == "no answer within 1 s (response timeout)"
    assert "or what it imports, left" in dossier_of(7).outward


def test_the_same_end_at_another_place_is_another() -> None:
    first = dossier_of(3, words=LoadFailed("ValueError: x", "h.py, line 1"))
    assert first.same_as(dossier_of(3, words=LoadFailed("ValueError: x", "h.py, line 1")))
    assert not first.same_as(dossier_of(3, words=LoadFailed("ValueError: x", "h.py, line 2")))
    assert not first.same_as(None)
