"""A handler that breaks its worker in every way there is: each request gets one answer, the others theirs.

One server for all kinds: what one of them leaves behind, the next one meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    Server,
    eventually,
    make_archive,
)

pytestmark = pytest.mark.slow

#: What a broken handler does, by its name: Python that it runs.
KINDS = {
    "raise": "raise ValueError('a bug')",
    "leave": "sys.exit(3)",
    "interrupt": "raise KeyboardInterrupt",
    "generator exit": "raise GeneratorExit",
    "exit": "os._exit(0)",
    "segfault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminate": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(1000)",
    "kill its group": "os.killpg(os.getpgrp(), signal.SIGKILL)",
    "kill its parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "stop": "os.kill(os.getpid(), signal.SIGSTOP)",
    "loop": "exec('while True: pass')",
    "loop in C": "collections.deque(itertools.repeat(0), 0)  # with the interpreter's lock",
    "block signals": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)",
    "memory": "bytearray(1 << 60)",
    "address space": "starve()",
    "recursion": "recursion()",
    "recursion in C": "recursion_in_c()",
    "fork, the child leaves": "os.fork() or os._exit(0)",
    "fork, both answer": "os.fork()",
    "fork, the child stays": "os.fork() or time.sleep(1000); os._exit(1)",
    "print": "[print('x' * 999) for _ in range(10_000)]",
    "close all files": "os.closerange(0, 1 << 12)",
    "close stdout": "os.close(1); sys.stdout.flush()",
    "garbage on all files": "[write(fd) for fd in range(3, 256)]",
    "a thread that raises": "threading.Thread(target=lambda: 1 / 0, daemon=True).start()",
    "a thread that stays": "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "elsewhere": "os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd())",
}
HANDLER = """
import collections, contextlib, ctypes, itertools, os, resource, signal, sys, tempfile, threading, time

def starve():
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, before[1]))
    try:
        held = [bytearray(1 << 20) for _ in range(1000)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def recursion():
    return recursion() + 1

def recursion_in_c(_=None):
    sys.setrecursionlimit(10**9)
    return sorted([0], key=recursion_in_c)

def write(fd):
    with contextlib.suppress(OSError):
        os.set_blocking(fd, False)
        os.write(fd, b"garbage" * 1000)

def handle(data, context):
    if data is None:
        return None
    what = bytes(data[0]["body"]).decode()
    exec({kinds!r}.get(what, ""), globals())
    return [what]
"""
#: Those after which the worker answers as if nothing had been.
HARMLESS = {
    *("fork, the child leaves", "fork, both answer", "close stdout", "print", "elsewhere"),
    *("a thread that raises", "a thread that stays", "kill its parent"),
}
#: Statuses other than 500, TorchServe's of a worker that died, or also.
OTHERS = {
    "raise": {503},
    "interrupt": {503},
    "generator exit": {503},
    "recursion": {503},
    "recursion in C": {500, 503},  # newer Pythons count it
    "memory": {507},
    "address space": {507},
    "kill": {507},
    "kill its group": {507},
}
#: What a broken model does while it is loaded, as long as a file says so.
AT_LOAD = {
    "raise": "raise ValueError('a bug')",
    "leave": "raise SystemExit('a bug')",
    "exit": "os._exit(3)",
    "segfault": "ctypes.string_at(0)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "hang": "time.sleep(1000)",
    "fork, both go on": "os.fork(); os._exit(3)",
    "close all files": "os.closerange(0, 1 << 12)",
}
LOADS = """
import ctypes, os, pathlib, shutil, signal, time

class Handler:
    def initialize(self, context):
        self.folder = context.system_properties["model_dir"]
        exec(pathlib.Path(context.model_yaml_config["broken"]).read_text(), globals())

    def handle(self, data, context):
        if bytes(data[0]["body"]) == b"delete":
            shutil.rmtree(self.folder)
            os._exit(3)
        if bytes(data[0]["body"]) == b"slow":
            time.sleep(3.5)
        return ["fine"] * len(data)
"""
ECHO = """
def handle(data, context):
    return [bytes(row["body"]) for row in data or ()]
"""
LATE = """
import time

def handle(data, context):
    return ["fine"] if data else time.sleep(2.5)
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 2\n"


@dataclass
class House:
    """A server with a model that breaks and one that does not; how many requests have failed."""

    server: Server
    #: What a model does while it is loaded.
    broken: Path
    failed: int = 0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("kinds")
    store = folder / "model_store"
    store.mkdir()
    make_archive(store, "breaks", HANDLER.replace("{kinds!r}", repr(KINDS)), config=CONFIG)
    make_archive(store, "other", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    make_archive(store, "late", LATE, config=CONFIG)
    broken = folder / "broken.py"
    make_archive(store, "loads", LOADS, config=f"broken: {broken}\n")
    make_archive(store, "hangs", LOADS, config=f"startupTimeout: 3\nbroken: {broken}\n")
    models = ("breaks=breaks-1.0.mar", "other=other-1.0.mar", "late=late-1.0.mar")
    # A sandbox would keep one of them from the worst that it can do.
    found = House(Server(folder, models, {"enable_model_api": "true", "sandbox": "off"}), broken)
    yield found
    assert found.server.stop()["failed"] == found.failed


def asked(client: httpx.Client, model: str, body: str) -> httpx.Response:
    return client.post(f"/predictions/{model}", content=body.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_crash(house: House, kind: str) -> None:
    server = house.server
    eventually(lambda: asked(server.client, "breaks", "fine").status_code == 200)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as own,
        ThreadPoolExecutor(1) as thread,
    ):
        answer = thread.submit(asked, own, "breaks", kind)
        served = 0
        while not answer.done() or not served:
            assert asked(server.client, "other", f"{served}").text == f"{served}", "the other model goes on"
            served += 1
        found = answer.result()
        if kind in HARMLESS:
            assert (found.status_code, found.text) == (200, kind)
        else:
            house.failed += 1
            assert found.status_code in OTHERS.get(kind, {500}), found.text
            assert found.json()["cause"]
        # The connection has nothing more to say of it: what is asked next gets its own answer.
        assert asked(own, "other", f"after {kind}").text == f"after {kind}"
        again = asked(own, "breaks", "next")
        assert (again.status_code, again.text) == (200, "next"), "the model has healed"


@pytest.mark.parametrize("kind", AT_LOAD)
def test_a_kind_of_crash_while_a_model_is_loaded(house: House, kind: str) -> None:
    """Who asked for it hears why, and the model heals when the cause is gone."""
    server, model = house.server, "hangs" if kind == "hang" else "loads"
    house.broken.write_text(AT_LOAD[kind])
    assert server.manage.post("/models", params={"url": f"{model}-1.0.mar"}).status_code == 200
    with ThreadPoolExecutor(1) as thread:
        scaled = thread.submit(server.manage.put, f"/models/{model}?min_worker=1&synchronous=true")
        served = 0
        while not scaled.done() or not served:
            assert asked(server.client, "other", f"{served}").text == f"{served}"
            served += 1
    assert scaled.result().status_code == 500
    assert scaled.result().json()["cause"]
    house.failed += 1
    told = asked(server.client, model, "x")
    assert (told.status_code, "retry-after" in told.headers) == (503, True)
    assert told.json()["cause"]
    house.broken.write_text("")
    eventually(lambda: asked(server.client, model, "x").text == "fine")
    assert server.manage.delete(f"/models/{model}").status_code == 200


def test_a_model_that_deletes_its_folder_is_told_and_heals_when_it_is_registered_anew(house: House) -> None:
    server = house.server
    house.broken.write_text("")
    wish = {"url": "loads-1.0.mar", "initial_workers": "1", "synchronous": "true"}
    assert server.manage.post("/models", params=wish).status_code == 200
    for body in ("delete", "x"):
        told = asked(server.client, "loads", body)
        assert (told.status_code, "No such file" in told.json()["cause"]) == (503, True), told.text
    assert server.manage.delete("/models/loads").status_code == 200
    assert server.manage.post("/models", params=wish).status_code == 200
    assert asked(server.client, "loads", "x").text == "fine"
    assert server.manage.delete("/models/loads").status_code == 200


def test_loading_and_answering_have_bounds_of_their_own(house: House) -> None:
    server = house.server
    house.broken.write_text("")
    assert asked(server.client, "late", "x").text == "fine", "loading may take longer than an answer"
    wish = {"url": "hangs-1.0.mar", "initial_workers": "1", "synchronous": "true"}
    assert server.manage.post("/models", params=wish).status_code == 200
    assert asked(server.client, "hangs", "slow").text == "fine", "an answer may take longer than loading"
    assert server.manage.delete("/models/hangs").status_code == 200
