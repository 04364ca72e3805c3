"""Servers whose workers share their handler's imports: what is said of it, and that no process is left."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forked workers"),
]

#: Says where it was imported, and where it answers.
SAYS = """
import os

IMPORTED = os.getpid()

def handle(data, context):
    return data and [f"{IMPORTED} {os.getpid()}"] * len(data)
"""
TWO = "minWorkers: 2\nmaxWorkers: 2\n"


def described(server: object, model: str) -> dict[str, object]:
    (version,) = server.manage.get(f"/models/{model}").json()  # type: ignore[attr-defined]
    found: dict[str, object] = version
    return found


def pids(server: object, model: str) -> set[int]:
    """The processes of a model's workers that serve."""
    workers: list[dict[str, object]] = described(server, model)["workers"]  # type: ignore[assignment]
    return {int(str(one["pid"])) for one in workers if one["status"] == "READY"}


def test_an_import_is_shared_from_the_first_worker_to_the_last(serve: Start) -> None:
    server = serve({"m": SAYS}, TWO, enable_model_api="true")
    eventually(lambda: len(pids(server, "m")) == 2)
    importer = described(server, "m")["imports"]["pid"]  # type: ignore[index]
    assert described(server, "m")["imports"] == {"shared": True, "pid": importer}
    first = pids(server, "m")
    assert server.manage.put("/models/m?min_worker=4&max_worker=4&synchronous=true").status_code == 200
    grown = pids(server, "m")
    assert first < grown
    assert len(grown) == 4
    victim = first.pop()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in pids(server, "m") and len(pids(server, "m")) == 4)
    answers = {server.client.post("/predictions/m", content=b"x").text.split()[0] for _ in range(8)}
    assert answers == {str(importer)}, "nobody imported again"
    assert {worker.pid for worker in server.workers()} == pids(server, "m")
    assert server.manage.put("/models/m?min_worker=1&max_worker=1&synchronous=true").status_code == 200
    assert psutil.pid_exists(importer)
    assert server.manage.put("/models/m?min_worker=0&max_worker=0&synchronous=true").status_code == 200
    eventually(lambda: not psutil.pid_exists(importer))
    assert server.manage.put("/models/m?min_worker=1&max_worker=1&synchronous=true").status_code == 200
    again = described(server, "m")["imports"]["pid"]  # type: ignore[index]
    assert again != importer
    assert server.manage.delete("/models/m").status_code == 200
    eventually(lambda: not psutil.pid_exists(again))


def test_workers_serve_on_without_the_process_that_imported(serve: Start) -> None:
    server = serve({"m": SAYS}, TWO)
    eventually(lambda: len(pids(server, "m")) == 2)
    before, importer = pids(server, "m"), described(server, "m")["imports"]["pid"]  # type: ignore[index]
    os.kill(importer, signal.SIGKILL)
    server.wait_for(f"process {importer}, from which workers were forked, died; they go on")
    for _ in range(8):
        assert int(server.client.post("/predictions/m", content=b"x").text.split()[1]) in before
    assert pids(server, "m") == before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(pids(server, "m")) == 2 and not pids(server, "m") & before)
    assert server.client.post("/predictions/m", content=b"x").text.split()[0] != str(importer)
    server.stop()
    assert server.output.count("share what process") == 2


IMPORTS = "import time\nprint('importing', flush=True)\ntime.sleep(1000)\n"


@pytest.mark.parametrize("source", [SAYS, IMPORTS], ids=["serving", "importing"])
def test_no_process_outlives_a_server_that_is_killed(serve: Start, source: str) -> None:
    server = serve({"m": source}, TWO)
    if source is SAYS:
        eventually(lambda: len(pids(server, "m")) == 2)
    else:
        server.wait_for("importing")
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) == (4 if source is SAYS else 2)
    for client in (server.client, server.manage, server.metrics):
        client.close()
    server.kill()
    psutil.wait_procs(family, timeout=60)
    eventually(lambda: not any(process.is_running() for process in family))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("shareImports: false\n", "shareImports is false"),
        ("preload: false\n", "preload is false"),
        ("sandbox: strict\n", "the sandbox is strict: nothing is shared"),
    ],
)
def test_whoever_does_not_want_it_has_workers_that_import_for_themselves(
    serve: Start, config: str, why: str
) -> None:
    server = serve({"m": SAYS}, TWO + config)
    eventually(lambda: len(pids(server, "m")) == 2)
    assert described(server, "m")["imports"] == {"shared": False, "why": why}
    importer, worker = server.client.post("/predictions/m", content=b"x").text.split()
    assert importer == worker


HOOKS = """
import asyncio, atexit, os, signal, sys
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGTERM, lambda *_: print("told to leave", os.getpid()))
atexit.register(lambda: print("left", os.getpid()))
os.register_at_fork(after_in_child=lambda: setattr(sys, "forked", True))
torch.manual_seed(7)

class Handler:
    def initialize(self, context):
        asyncio.run(asyncio.sleep(0))
        print("initialized in", os.getpid(), torch.get_num_threads(), torch.rand(1).item(), sys.forked)

    def handle(self, data, context):
        return data
"""


def test_what_a_module_sets_up_holds_in_each_worker_and_runs_once_in_each(serve: Start) -> None:
    server = serve({"m": HOOKS}, TWO)
    eventually(lambda: len(pids(server, "m")) == 2)
    assert described(server, "m")["imports"]["shared"]  # type: ignore[index]
    workers = sorted(pids(server, "m"))
    server.stop()
    for what in ("initialized in", "told to leave", "left"):
        assert sorted(map(int, re.findall(rf"{what} (\d+)", server.output))) == workers, what
    threads, drawn = zip(*re.findall(r"initialized in \d+ (\d+) ([\d.]+) True", server.output), strict=True)
    assert set(threads) == {"1"}, "the module's own number, not what the cores give"
    assert len(set(drawn)) == 1, "seeded by the module, as if each had imported it"


def test_what_fails_in_initialize_is_told_as_ever_and_imports_stay_shared(
    serve: Start, tmp_path: Path
) -> None:
    mend = tmp_path / "mended"
    source = (
        "import os, pathlib\nprint('imported', flush=True)\n"
        "class Handler:\n    def initialize(self, context):\n"
        f"        if not pathlib.Path({str(mend)!r}).exists():\n            raise ValueError('not yet')\n"
        "    def handle(self, data, context):\n        return ['x'] * len(data)\n"
    )
    server = serve({"m": source})
    eventually(lambda: "lastFailure" in described(server, "m"))
    failure: dict[str, object] = described(server, "m")["lastFailure"]  # type: ignore[assignment]
    assert failure["cause"] == "the model could not be loaded: ValueError: not yet"
    assert failure["place"] == "m_handler.py, line 6, in initialize"
    mend.touch()
    eventually(lambda: len(pids(server, "m")) == 1)
    server.stop()
    assert len(re.findall(r"MODEL_LOG - imported", server.output)) == 1
