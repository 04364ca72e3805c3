"""The N-th system call of a kind fails, for N = 1, 2, ...: each request has its answer, and nothing is left.

strace injects the errors, from outside and only while something is asked. Calls on the event loop's own
handles are left out: they cannot fail so, and libuv ends the process if they do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import psutil
import pytest
from faults import called  # type: ignore[import-not-found]
from scene import LONG, calm, server_of, settle  # type: ignore[import-not-found]

from servers import Server, eventually
from tools import unavailable

pytestmark = pytest.mark.slow

#: Call, error, and what the N-th is counted up to: as long as there are so many.
FAULTS = [
    ("openat", "EMFILE", 12),
    ("openat", "EIO", 12),
    ("openat", "ENOMEM", 12),
    ("mkdir", "ENOSPC", 6),
    ("rename", "ENOSPC", 4),
    ("socketpair", "EMFILE", 3),
    ("pipe2", "EMFILE", 6),
    ("accept4", "ENOMEM", 6),
    ("clone3", "EAGAIN", 8),
]
#: Those of the short form.
SHORT = [("openat", "EMFILE", 8), ("mkdir", "ENOSPC", 3), ("pipe2", "EMFILE", 2), ("clone3", "EAGAIN", 6)]
#: Seconds in which each request is answered; a thread that never begins takes ten.
SOON = 30.0


class Injection:
    """Has the N-th call of a kind fail in each thread of a process, while the context lasts."""

    def __init__(self, folder: Path, pid: int, call: str, error: str, number: int) -> None:
        self._pid = pid
        self._said = folder / "strace"
        inject = f"inject={call}:error={error}:when={number}"
        self._command = ["strace", "-f", "-qq", "-o", self._said, "-e", f"trace={call}", "-e", inject]
        #: Calls that failed.
        self.happened = 0

    def __enter__(self) -> Injection:
        self._strace = subprocess.Popen([*self._command, "-p", str(self._pid)], stderr=subprocess.DEVNULL)
        eventually(self._attached)
        return self

    def _attached(self) -> bool:
        assert self._strace.poll() is None, "strace could not attach"
        states = [
            Path(f"/proc/{self._pid}/task/{task}/status") for task in os.listdir(f"/proc/{self._pid}/task")
        ]
        return all(re.search(r"TracerPid:\s+[1-9]", state.read_text()) for state in states)

    def __exit__(self, *_: object) -> None:
        if self._strace.poll() is None:
            self._strace.send_signal(signal.SIGINT)
        self._strace.wait(60)
        self.happened = self._said.read_text().count("(INJECTED)")


def may_trace(folder: Path) -> bool:
    """Whether strace is here and may look at other processes."""
    if shutil.which("strace") is None:
        unavailable("strace is not installed")
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            with Injection(folder, child.pid, "mkdir", "EIO", 1):
                return True
        except AssertionError:
            return False
        finally:
            child.kill()


def everything(server: Server) -> dict[str, list[httpx.Response]]:
    """Predictions, and meanwhile a model that comes, answers and goes."""
    answers: dict[str, list[httpx.Response]] = {"predict": [], "register": [], "other": [], "unregister": []}

    def predict(client: httpx.Client) -> None:
        answers["predict"].append(client.post("/predictions/echo", content=b"x"))

    with httpx.Client(base_url=server.manage.base_url, timeout=SOON) as manage:
        clients = [httpx.Client(base_url=server.client.base_url, timeout=SOON) for _ in range(4)]
        threads = [threading.Thread(target=predict, args=(client,)) for client in clients[1:]]
        for thread in threads:
            thread.start()
        query = {"url": "other-1.0.mar", "initial_workers": 1, "synchronous": "true"}
        answers["register"].append(manage.post("/models", params=query))
        answers["other"].append(clients[0].post("/predictions/other", content=b"x"))
        answers["unregister"].append(manage.delete("/models/other"))
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
    return answers


@pytest.fixture
def server(tmp_path: Path) -> Server:
    if not may_trace(tmp_path):
        pytest.skip("this user may not trace processes")
    return server_of(tmp_path)


def play(
    tmp_path: Path, server: Server, pid: Callable[[], int], faults: Sequence[tuple[str, str, int]]
) -> int:
    """Has each call fail in a process, and says how many did; each time all is well afterwards."""
    fine = [200] * 6
    assert statuses(everything(server)) == fine
    before, happened = calm(server), 0
    for call, error, most in faults:
        for number in range(1, most + 1):
            with Injection(tmp_path, pid(), call, error, number) as injection:
                answers = everything(server)
            if not injection.happened:
                break
            happened += injection.happened
            said = (
                call,
                error,
                number,
                {what: [one.text for one in found] for what, found in answers.items()},
            )
            assert [answer.status_code for answer in answers["predict"]] == [200] * 3, said
            (registered,), (other,), (gone,) = (answers[what] for what in ("register", "other", "unregister"))
            assert registered.status_code in (200, 500, 503, 507), said
            there = 200 if registered.status_code == 200 else 404
            assert (other.status_code, gone.status_code) == (there, there), said
            # What could not be removed goes with the next model that does.
            assert statuses(everything(server)) == fine, said
            settle(server, before)
    print(f"\n{happened} system calls failed")
    assert server.stop()["gone"] == 0
    return happened


def statuses(answers: dict[str, list[httpx.Response]]) -> list[int]:
    """Of all answers."""
    return [answer.status_code for found in answers.values() for answer in found]


def test_a_call_of_the_front_that_fails_costs_no_answer(tmp_path: Path, server: Server) -> None:
    faults = FAULTS if LONG else SHORT
    assert play(tmp_path, server, lambda: server.process.pid, faults) > len(faults)


def test_a_call_of_the_template_that_fails_costs_no_answer(tmp_path: Path, server: Server) -> None:
    """Those of the workers that it forks meanwhile fail, too."""

    def template() -> int:
        eventually(lambda: len(_templates(server)) == 1)
        (found,) = _templates(server)
        return found

    assert play(tmp_path, server, template, [("clone", "EAGAIN", 1), ("openat", "EMFILE", 2)]) > 1


def _templates(server: Server) -> list[int]:
    return [
        child.pid
        for child in psutil.Process(server.process.pid).children()
        if called(child).startswith("python")
    ]


@pytest.mark.parametrize(("call", "error"), [("openat", "EMFILE"), ("unlinkat", "EIO"), ("clone3", "EAGAIN")])
def test_an_end_in_which_a_call_fails_is_an_end(
    tmp_path: Path, server: Server, call: str, error: str
) -> None:
    everything(server)
    with Injection(tmp_path, server.process.pid, call, error, 1):
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.terminate()
        server.process.wait(60)
    assert server.ended(0)["failed"] == 0
    assert not [process for process in family if process.is_running()], "orphans"
