"""Servers whose workers are forked from one that has loaded the model: answers, lives, and what is told."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    EXAMPLE,
    SECONDS_TO_START,
    Server,
    Start,
    eventually,
    mnist_server,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forked workers"),
]

SHARED = "shareWeights: true\n"
TWO = SHARED + "minWorkers: 2\nmaxWorkers: 2\n"
DIGITS = [(EXAMPLE / "test_data" / f"{number}.png").read_bytes() for number in range(10)]


def described(server: Server, model: str) -> dict[str, Any]:
    (found,) = server.manage.get(f"/models/{model}").json()
    return dict(found)


def ready(server: Server, model: str, count: int = 2, seconds: float = SECONDS_TO_START) -> set[int]:
    """The processes of a model's workers, once so many serve."""
    pids: set[int] = set()

    def all_are_there() -> bool:
        workers = described(server, model)["workers"]
        pids.clear()
        pids.update(worker["pid"] for worker in workers if worker["status"] == "READY")
        return len(pids) == count

    eventually(all_are_there, seconds)
    return pids


# --- a real model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "execution",
    [
        "threads: 2",
        "threads: 2, memoryFormat: channels_last, dtype: bfloat16",
    ],
    ids=["eager", "bfloat16"],
)
def test_forks_with_two_threads_answer_batches_as_workers_that_load_for_themselves(
    tmp_path: Path, execution: str
) -> None:
    for name in ("3.png", "7.png"):
        (tmp_path / "extra" / "warmup").mkdir(parents=True, exist_ok=True)
        (tmp_path / "extra" / "warmup" / name).write_bytes(DIGITS[int(name[0])])
    config = (
        f"{TWO}batchSize: 16\nmaxBatchDelay: 50\nbatchPolicy: delay\nstartupTimeout: 600\n"
        f"execution: {{{execution}}}\n"
    )
    server = mnist_server(tmp_path, config, extra=tmp_path / "extra")
    pids = ready(server, "mnist")
    found = described(server, "mnist")
    assert found["weights"] == {"shared": True}
    assert found["execution"]["threads"] == 2
    assert found["execution"]["warmup"]["samples"] == 2
    assert all(worker["pss"] < worker["memoryUsage"] for worker in found["workers"])
    loader = psutil.Process(found["imports"]["pid"])
    assert (loader.num_threads(), loader.name()) == (1, "weights:mnist")
    assert {psutil.Process(pid).ppid() for pid in pids} == {loader.pid}
    with ThreadPoolExecutor(32) as clients:

        def ask(number: int) -> str:
            return str(server.client.put("/predictions/mnist", content=DIGITS[number % 10]).text)

        assert list(clients.map(ask, range(320))) == [str(number % 10) for number in range(320)]
    assert all(psutil.Process(pid).num_threads() > 2 for pid in pids), "the life's, and torch's two"
    assert loader.num_threads() == 1
    server.stop()


COMPILED = """
import os
import torch

class Handler:
    def initialize(self, context):
        self.loaded = os.getpid()
        self.model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))

    def handle(self, data, context):
        with torch.inference_mode():
            rows = self.model(torch.linspace(0, 1, 64 * len(data)).reshape(-1, 64))
        return [f"{self.loaded} {os.getpid()} {rows.sum():.3f}"] * len(data)
"""


def test_what_is_compiled_ahead_is_forked_too(serve: Start) -> None:
    config = f"{TWO}batchSize: 16\nstartupTimeout: 600\nexecution: {{threads: 2, aot: true}}\n"
    server = serve({"m": COMPILED}, config, samples=["one"])
    pids = ready(server, "m", seconds=600)
    found = described(server, "m")
    assert found["weights"] == {"shared": True}, found
    assert (found["execution"]["aot"], found["execution"]["threads"]) == (True, 2)
    said = answers(server)
    assert set(said) == pids
    assert {int(one[0]) for one in said.values()} == {found["imports"]["pid"]}
    server.stop()


# --- what differs from worker to worker --------------------------------------------------------------------

#: Says in which process it was loaded, in which it answers, and what that draws.
SAYS = """
import os, random
import torch

class Handler:
    def initialize(self, context):
        self.context = context
        self.loaded = os.getpid()
        self.weights = torch.rand(1000)
        context.metrics.add_counter("Loads", 1)
        print("initialized in", os.getpid(), torch.get_num_threads(), flush=True)

    def handle(self, data, context):
        drawn = random.random(), torch.rand(1).item(), __import__("numpy").random.rand()
        gpu = context.system_properties["gpu_id"]
        print("answers in", os.getpid(), flush=True)
        said = [self.loaded, os.getpid(), torch.get_num_threads(), gpu, *drawn, self.weights.sum().item()]
        return [" ".join(map(str, said))] * len(data)
"""


def answers(server: Server) -> dict[int, list[str]]:
    """What each of two workers says, by its process."""
    found: dict[int, list[str]] = {}

    def both_have() -> bool:
        with ThreadPoolExecutor(8) as clients:
            for said in clients.map(lambda _: server.client.post("/predictions/m", content=b"x"), range(8)):
                words = said.text.split()
                found[int(words[1])] = words
        return len(found) == 2

    eventually(both_have)
    return found


def test_what_is_each_workers_own_is_that_in_forks_and_initialize_ran_once(serve: Start) -> None:
    server = serve({"m": SAYS}, TWO + "execution: {threads: 3}\n")
    pids = ready(server, "m")
    loader = described(server, "m")["imports"]["pid"]
    said = answers(server)
    assert set(said) == pids
    (one, other) = said.values()
    assert (int(one[0]), one[2:4]) == (loader, ["3", "None"])
    assert one[7] == other[7], "the same weights"
    for place in (4, 5, 6):
        assert one[place] != other[place], "numbers of its own"
    assert described(server, "m")["execution"] == {"threads": 3}
    server.stop()
    assert len(re.findall(r"\[METRICS\]Loads\.Count:1\.0", server.output)) == 1
    assert re.findall(r"initialized in (\d+) 1", server.output) == [str(loader)]
    names = dict(re.findall(r"(W-\d+-m_1\.0)\S* .*answers in (\d+)", server.output))
    assert len(set(names.values())) == len(names) == 2, "each has its own name in the log"


# --- lives ----------------------------------------------------------------------------------------------


def test_workers_come_and_go_and_the_model_is_loaded_once(serve: Start) -> None:
    server = serve({"m": SAYS}, TWO + "maxRequestsPerWorker: 20\n", enable_model_api="true")
    first = ready(server, "m")
    loader = described(server, "m")["imports"]["pid"]
    victim = first.pop()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in ready(server, "m"))
    assert server.manage.put("/models/m?min_worker=3&max_worker=3&synchronous=true").status_code == 200
    grown = ready(server, "m", 3)

    def all_are_worn() -> bool:
        with ThreadPoolExecutor(8) as clients:
            said = clients.map(lambda _: server.client.post("/predictions/m", content=b"x"), range(32))
            assert {one.text.split()[0] for one in said} == {str(loader)}
        return not ready(server, "m", 3) & grown

    eventually(all_are_worn)
    assert server.manage.put("/models/m?min_worker=0&max_worker=0&synchronous=true").status_code == 200
    eventually(lambda: not psutil.pid_exists(loader))
    assert server.manage.put("/models/m?min_worker=1&max_worker=1&synchronous=true").status_code == 200
    assert described(server, "m")["weights"] == {"shared": True}
    again = described(server, "m")["imports"]["pid"]
    os.kill(again, signal.SIGKILL)
    server.wait_for(f"process {again}, from which workers were forked, died; they go on")
    (pid,) = ready(server, "m", 1)
    assert server.client.post("/predictions/m", content=b"x").text.split()[0] == str(again)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in ready(server, "m", 1))
    third = server.client.post("/predictions/m", content=b"x").text.split()[0]
    assert int(third) not in (loader, again)
    server.stop()
    assert len(re.findall("initialized in", server.output)) == 3


LOADS = """
import os, pathlib, signal, time

class Handler:
    def initialize(self, context):
        if not pathlib.Path({mend!r}).exists():
            {fails}

    def handle(self, data, context):
        return ["fine"] * len(data)
"""


@pytest.mark.parametrize(
    ("fails", "cause", "config"),
    [
        ("raise ValueError('not yet')", "the model could not be loaded: ValueError: not yet", ""),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", ""),
        ("time.sleep(1000)", "the model was not loaded within 3 s", "startupTimeout: 3\n"),
    ],
    ids=["raises", "crashes", "hangs"],
)
def test_a_load_for_all_that_fails_is_told_as_that_of_one_and_tried_again(
    serve: Start, tmp_path: Path, fails: str, cause: str, config: str
) -> None:
    mend = tmp_path / "mended"
    server = serve({"m": LOADS.format(mend=str(mend), fails=fails)}, SHARED + "minWorkers: 1\n" + config)
    eventually(lambda: "lastFailure" in described(server, "m"))
    failure = described(server, "m")["lastFailure"]
    assert cause in failure["cause"]
    assert "m_handler.py, line 7" in failure["place"], failure
    assert server.client.post("/predictions/m", content=b"x").status_code == 503
    mend.touch()
    ready(server, "m", 1)
    assert server.client.post("/predictions/m", content=b"x").text == "fine"
    assert described(server, "m")["weights"] == {"shared": True}


def test_workers_are_forked_from_the_second_that_loads_where_the_first_is_killed(
    serve: Start, tmp_path: Path
) -> None:
    once = str(tmp_path / "once")
    source = (
        "import os\n"
        "class Handler:\n"
        "    def initialize(self, context):\n"
        f"        if not os.path.exists({once!r}):\n"
        f"            os.mkdir({once!r})\n"
        "            os.kill(os.getpid(), 9)\n"
        "    def handle(self, data, context):\n"
        "        return ['fine'] * len(data)\n"
    )
    server = serve({"m": source}, SHARED + "minWorkers: 5\n")
    pids = ready(server, "m", 5)
    found = described(server, "m")
    assert found["weights"] == {"shared": True}
    assert {psutil.Process(pid).ppid() for pid in pids} == {found["imports"]["pid"]}


# --- what cannot be shared ----------------------------------------------------------------------------------

THREAD = (
    "self.kept = threading.Thread(target=time.sleep, args=(999,), daemon=True)\n        self.kept.start()"
)
APART: Mapping[str, tuple[str, str, str]] = {
    "thread": (THREAD, "", "it started 1 thread"),
    "file": ("self.kept = open(__file__)", "", "it opened "),
    "generator": (
        "self.kept = [__import__('numpy').random.default_rng(1)]",
        "",
        r"it made a generator of random numbers \(numpy.random._generator.Generator\)",
    ),
    "closure": (
        "own = __import__('random').Random(1); self.draw = lambda: own.random()",
        "",
        r"it made a generator of random numbers \(random.Random\)",
    ),
    "parallel": (
        "import torch; torch.set_num_threads(3); torch.rand(1 << 20).sin()",
        "",
        "it started 2 threads",
    ),
    "pt2": ("pass", "pt2: inductor\n", "pt2: what torch.compile makes is for one number of threads"),
    "imports": ("pass", "shareImports: false\n", "shareImports is false"),
    "sandbox": ("pass", "sandbox: strict\n", "the sandbox is strict: nothing is shared"),
}


@pytest.mark.parametrize("what", APART)
def test_what_cannot_be_shared_is_loaded_by_each_and_said_to_be(serve: Start, what: str) -> None:
    line, config, why = APART[what]
    source = (
        "import os, threading, time\n"
        "IMPORTED = os.getpid()\n"
        "class Handler:\n"
        "    def initialize(self, context):\n"
        "        self.loaded = os.getpid()\n"
        f"        {line}\n"
        "    def handle(self, data, context):\n"
        "        return [f'{self.loaded} {os.getpid()} {IMPORTED}'] * len(data)\n"
    )
    server = serve({"m": source}, TWO + config)
    pids = ready(server, "m")
    found = described(server, "m")
    assert found["weights"]["shared"] is False
    assert re.match(why, found["weights"]["why"]), found["weights"]
    said = answers(server)
    assert set(said) == pids
    assert all(one[0] == one[1] for one in said.values())
    if what in ("thread", "file", "generator", "closure", "parallel"):
        assert found["imports"]["shared"] is True, "by those that came after the first"
