"""Workers that die in every way: the client learns why, the others lose nothing, the place is refilled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

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
            sys.exit(5)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
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
        ("sys.exit", 500, "exit code 5"),
        ("segfault", 500, "SIGSEGV"),
        ("kill", 507, "SIGKILL"),
        ("hang", 500, "response timeout"),
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
