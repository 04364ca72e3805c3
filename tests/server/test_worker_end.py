"""The end of a worker whose handler has started processes, and has things to do at the end."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from conftest import Server, Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

#: A child that holds whatever its parent held, for as long as it may.
HANDLER = """
import atexit, concurrent.futures, logging, logging.handlers, multiprocessing, os, pathlib, signal, sys
import tempfile, threading, time

OUT = pathlib.Path({out!r})

def wait():
    time.sleep(1000)

def note(name, text):
    with open(OUT / name, "a") as file:
        print(text, file=file)

class Handler:
    def initialize(self, context):
        self.name = context.model_name
        options = context.model_yaml_config.get("handler", {{}})
        self.scratch = tempfile.TemporaryDirectory(prefix=f"scratch-{{self.name}}-", dir=OUT)
        self.child = multiprocessing.Process(target=wait, daemon=options.get("daemon", True))
        self.child.start()
        note(self.name + ".child", self.child.pid)
        self.pool = concurrent.futures.ProcessPoolExecutor(1)
        self.pool.submit(os.getpid).result()
        threading.Thread(target=wait).start()
        atexit.register(note, self.name + ".atexit", "atexit")
        self.log = logging.getLogger("audit")
        file = logging.FileHandler(OUT / (self.name + ".audit"))
        self.log.addHandler(logging.handlers.MemoryHandler(1000, target=file))
        if options.get("listens"):
            signal.signal(signal.SIGTERM, self.term)

    def term(self, *_):
        note(self.name + ".sigterm", "sigterm")
        sys.exit(0)

    def handle(self, data, context):
        self.log.info("a row")
        if bytes(data[0]["body"]) == b"compute":
            note(self.name + ".began", os.getpid())
            if (OUT / (self.name + ".began")).read_text().count("\\n") == 1:
                time.sleep(1000)
        return [str(os.getpid())] * len(data)
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\n"


def pid_in(path: Path) -> int:
    return int(path.read_text().split()[-1])


def says(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def started(serve: Start, out: Path, *names: str, config: str = CONFIG, **settings: object) -> Server:
    server = serve({name: HANDLER.format(out=str(out)) for name in names}, config, **settings)
    for name in names:
        assert server.client.post(f"/predictions/{name}", content=b"x").status_code == 200
    return server


def check_end(out: Path, name: str) -> None:
    """Everything that the handler left for its end has been done, and its child is gone."""
    assert (out / f"{name}.atexit").read_text().split() == ["atexit"]
    assert "a row" in (out / f"{name}.audit").read_text(), "logging has flushed"
    assert not list(out.glob(f"scratch-{name}-*"))
    assert is_gone(pid_in(out / f"{name}.child"))


def test_a_worker_that_is_killed_while_its_child_lives_is_replaced_at_once(
    serve: Start, tmp_path: Path
) -> None:
    server = started(serve, tmp_path, "m")
    child = pid_in(tmp_path / "m.child")
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(server.client.post, "/predictions/m", content=b"compute")
        eventually(lambda: says(tmp_path / "m.began"))
        os.kill(pid_in(tmp_path / "m.began"), 9)
        assert answer.result(60).status_code == 200, "it was sent again to the next worker"
    eventually(lambda: is_gone(child))
    ledger = server.stop()
    assert ledger["answered"] == ledger["accepted"] == 2
    assert "killed by SIGKILL" in server.output


def test_unregistering_scaling_to_0_and_stopping_end_workers_with_daemonic_children(
    serve: Start, tmp_path: Path
) -> None:
    server = started(serve, tmp_path, "gone", "scaled", "stopped", enable_model_api="true")
    assert server.manage.delete("/models/gone").status_code == 200
    check_end(tmp_path, "gone")
    scaling = {"min_worker": "0", "max_worker": "0", "synchronous": "true"}
    assert server.manage.put("/models/scaled", params=scaling).status_code == 200
    check_end(tmp_path, "scaled")
    server.stop()
    check_end(tmp_path, "stopped")
    assert "is killed" not in server.output


def test_a_handlers_own_function_for_sigterm_runs_with_nothing_in_hand(serve: Start, tmp_path: Path) -> None:
    server = started(serve, tmp_path, "m", config=CONFIG + "handler:\n  listens: true\n")
    server.stop()
    assert (tmp_path / "m.sigterm").read_text().split() == ["sigterm"]
    check_end(tmp_path, "m")


def test_a_child_that_would_be_waited_for_costs_the_grace_and_no_more(serve: Start, tmp_path: Path) -> None:
    server = started(serve, tmp_path, "m", config=CONFIG + "handler:\n  daemon: false\n")
    server.stop()
    assert is_gone(pid_in(tmp_path / "m.child"))
    assert (tmp_path / "m.atexit").read_text().split() == ["atexit"]


def test_a_spawned_worker_ends_as_a_forked_one(serve: Start, tmp_path: Path) -> None:
    server = started(serve, tmp_path, "m", config=CONFIG + "preload: false\nhandler:\n  listens: true\n")
    child = pid_in(tmp_path / "m.child")
    worker = int(server.client.post("/predictions/m", content=b"x").text)
    os.kill(worker, 9)
    eventually(lambda: is_gone(child))
    assert server.client.post("/predictions/m", content=b"x").status_code == 200
    for left in tmp_path.glob("scratch-*"):
        if left != newest(tmp_path):
            shutil.rmtree(left)  # nothing runs in a worker that is killed
    server.stop()
    assert (tmp_path / "m.sigterm").exists()
    check_end(tmp_path, "m")


def newest(folder: Path) -> Path:
    return max(folder.glob("scratch-*"), key=lambda path: path.stat().st_mtime_ns)


def test_workers_and_their_children_end_when_the_server_is_killed(serve: Start, tmp_path: Path) -> None:
    server = started(serve, tmp_path, "m")
    pids = [int(server.client.post("/predictions/m", content=b"x").text), pid_in(tmp_path / "m.child")]
    server.process.kill()
    server.process.wait(60)
    eventually(lambda: all(map(ended, pids)))
    for client in (server.client, server.manage, server.metrics):
        client.close()
    server.process.stdout.close()


def ended(pid: int) -> bool:
    """Whether it lives no more; nobody may be there to bury it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


LOADING = """
import os, pathlib, time

class Handler:
    def initialize(self, context):
        pathlib.Path({out!r}, "loading").write_text(f"{{os.getpid()}}\\n")
        time.sleep(1000)

    def handle(self, data, context):
        return data
"""


def test_a_model_that_loads_for_long_is_no_reason_to_wait(serve: Start, tmp_path: Path) -> None:
    server = serve({"m": LOADING.format(out=str(tmp_path))}, CONFIG, enable_model_api="true")
    eventually(lambda: says(tmp_path / "loading"))
    pid = pid_in(tmp_path / "loading")
    assert server.manage.delete("/models/m").status_code == 200
    assert is_gone(pid)
    assert "is killed" not in server.output
