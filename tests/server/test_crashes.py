"""Workers that die in every way: the client learns why, the others lose nothing, the place is refilled."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

CRASHES = """
import os, signal, ctypes, sys, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        what = bytes(row["body"]).decode()
        if what == "exit":
            os._exit(7)
        if what == "sys.exit":
            sys.exit("the licence has run out")
        if what == "segfault":
            ctypes.string_at(0)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "deaf":
            os.closerange(3, 256)
        if what == "hang":
            time.sleep(1000)
        if what == "slow":
            time.sleep(0.2)
        answers.append(str(os.getpid()))
    return answers
"""


@pytest.mark.parametrize(
    ("what", "status", "cause"),
    [
        ("exit", 500, "exit code 7"),
        ("sys.exit", 500, "exit code 1, since the handler left: SystemExit: the licence has run out"),
        ("segfault", 500, "SIGSEGV"),
        ("kill", 507, "SIGKILL"),
        ("deaf", 500, "exit code 1"),
        ("hang", 500, "response timeout, set by responseTimeout"),
    ],
)
def test_the_client_learns_why_and_the_worker_is_replaced(
    serve: Start, what: str, status: int, cause: str
) -> None:
    server = serve({"crash": CRASHES}, "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1\n")
    before = server.client.post("/predictions/crash", content=b"fine").text
    answer = server.client.post("/predictions/crash", content=what.encode())
    assert answer.status_code == status
    assert answer.json()["message"] == "Worker died."
    assert cause in answer.json()["cause"]
    after = server.client.post("/predictions/crash", content=b"fine")
    assert after.status_code == 200
    assert after.text != before, "another process answers now"
    assert server.stop()["failed"] == 1


def test_a_crash_costs_the_others_nothing(serve: Start) -> None:
    server = serve({"crash": CRASHES}, "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\n")
    bodies = [b"slow"] * 12 + [b"exit"] + [b"slow"] * 12
    with ThreadPoolExecutor(len(bodies)) as threads:
        answers = list(
            threads.map(lambda body: server.client.post("/predictions/crash", content=body), bodies)
        )
    wrong = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code != 200]
    assert wrong == [b"exit"], "only the request that kills its worker, alone and twice, fails"
    assert server.stop()["failed"] == 1


def test_what_ended_two_workers_is_refused_until_it_is_forgotten(serve: Start) -> None:
    server = serve({"crash": CRASHES}, "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\n")

    def ask(body: bytes) -> httpx.Response:
        return server.client.post("/predictions/crash", content=body)

    assert ask(b"segfault").status_code == 500
    refused = ask(b"segfault")
    assert refused.status_code == 422
    assert "ended two workers" in refused.json()["message"]
    assert "SIGSEGV" in refused.json()["cause"]
    assert ask(b"fine").status_code == 200
    (described,) = server.manage.get("/models/crash").json()
    (held,) = described["quarantine"]
    assert held["digest"] in refused.json()["cause"]
    assert "SIGSEGV" in held["cause"]
    assert (held["refused"], 3500 < held["secondsLeft"] <= 3600) == (1, True)
    ledger = server.stop()
    assert (ledger["failed"], ledger["refused"]) == (1, 1)


def test_a_killed_worker_is_replaced_while_requests_wait(serve: Start) -> None:
    server = serve({"crash": CRASHES})
    pid = int(server.client.post("/predictions/crash", content=b"fine").text)
    assert [process.pid for process in server.workers()] == [pid]
    server.workers()[0].kill()
    answer = server.client.post("/predictions/crash", content=b"fine")
    assert answer.status_code == 200
    assert int(answer.text) != pid


def test_a_model_that_cannot_be_loaded_says_why(serve: Start) -> None:
    server = serve({"broken": "import nothing_of_that_name\n"})
    first = server.client.post("/predictions/broken", content=b"x")
    assert first.status_code == 503
    assert "No module named 'nothing_of_that_name'" in first.json()["cause"]
    assert "retry-after" in first.headers
    again = server.client.post("/predictions/broken", content=b"x")
    assert again.status_code == 503
    assert first.json()["message"].startswith('Model "broken" has no worker to serve inference request.')


def test_a_full_queue_refuses_at_once(serve: Start) -> None:
    server = serve({"crash": CRASHES}, "minWorkers: 1\nmaxWorkers: 1\njobQueueSize: 2\n")
    server.client.post("/predictions/crash", content=b"fine")
    with ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(lambda _: server.client.post("/predictions/crash", content=b"slow"), range(12))
        )
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert "job_queue_size" in refused[0].json()["cause"]
    assert all(answer.status_code in (200, 503) for answer in answers)
    assert server.stop()["refused"] == len(refused)


WAITS = """
import pathlib, time

def handle(data, context):
    while data and not pathlib.Path(context.model_yaml_config["go"]).exists():
        time.sleep(0.01)
    return data and [str(len(data))] * len(data)
"""


def test_a_batch_may_be_larger_than_the_queue(serve: Start, tmp_path: Path) -> None:
    """The batch's places are counted beside the queue's, also where it went before it was full."""
    go = tmp_path / "go"
    server = serve({"waits": WAITS}, f"minWorkers: 1\nbatchSize: 30\njobQueueSize: 5\ngo: {go}\n")

    def ask(number: int) -> int:
        return server.client.post("/predictions/waits", content=b"x").status_code  # type: ignore[no-any-return]

    def taken() -> bool:
        page = server.metrics.get("/metrics").text
        return re.search(r"^ts_inference_requests_total\{.*\} 35(\.0)?$", page, re.MULTILINE) is not None

    eventually(lambda: "READY" in server.manage.get("/models/waits").text)
    with ThreadPoolExecutor(35) as threads:
        asked = [threads.submit(ask, number) for number in range(35)]
        eventually(taken)
        try:
            assert ask(35) == 503
        finally:
            go.touch()
        assert [one.result() for one in asked] == [200] * 35
    assert server.stop()["refused"] == 1


def test_workers_outlive_the_template_and_are_replaced_from_a_new_one(serve: Start) -> None:
    server = serve({"crash": CRASHES})
    client, url = server.client, "/predictions/crash"
    pid = client.post(url, content=b"fine").text
    (template,) = psutil.Process(server.process.pid).children()
    template.kill()
    psutil.wait_procs([template], timeout=60)
    server.wait_for("the template process died")
    for _ in range(5):
        assert client.post(url, content=b"fine").text == pid, "the worker goes on"
    psutil.Process(int(pid)).kill()
    answer = client.post(url, content=b"fine")
    assert answer.status_code == 200
    assert answer.text != pid
    parent = psutil.Process(int(answer.text)).parent()
    assert parent is not None
    assert parent.pid not in (template.pid, server.process.pid)
    assert "torchkeeper.worker.template" in parent.cmdline()
    ledger = server.stop()
    assert ledger["answered"] == ledger["accepted"] == 7
    assert "killed by SIGKILL" in server.output, "the front itself has reaped the orphan"


def test_workers_without_a_template_are_stopped_with_the_server(serve: Start) -> None:
    server = serve({"crash": CRASHES}, "minWorkers: 2\nmaxWorkers: 2\n")
    server.client.post("/predictions/crash", content=b"fine")
    (template,) = psutil.Process(server.process.pid).children()
    template.kill()
    server.wait_for("the template process died")
    assert server.client.post("/predictions/crash", content=b"fine").status_code == 200
    assert server.stop()["answered"] == 2


HANGS = """
import os, time

class Handler:
    def initialize(self, context):
        with open({pids!r}, "a") as pids:
            print(os.getpid(), file=pids)
        time.sleep(1000)

    def handle(self, data, context):
        return data
"""


def test_a_model_that_hangs_while_it_loads_is_killed_and_the_client_learns_why(
    serve: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    server = serve(
        {"hangs": HANGS.format(pids=str(pids))}, "minWorkers: 1\nmaxWorkers: 1\nstartupTimeout: 1\n"
    )
    answer = server.client.post("/predictions/hangs", content=b"x")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert answer.json()["cause"] == (
        "no worker could be started: "
        "the model was not loaded within 1 s (startup timeout, set by startupTimeout) "
        "(hangs_handler.py, line 8, in initialize)"
    )
    first, second = map(int, pids.read_text().split()[:2])
    assert not psutil.pid_exists(first)
    assert not psutil.pid_exists(second)
    ledger = server.stop()
    assert (ledger["refused"], ledger["failed"]) == (1, 0)
