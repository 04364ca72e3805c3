"""Workers that end, or cannot load: clients, the description and the log tell the same facts of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ONE = "minWorkers: 1\nmaxWorkers: 1\nretryOnWorkerDeath: false\n"
CRASHES = """
import ctypes, os, sys

def deep(what):
    if what == "segfault":
        ctypes.string_at(0)
    if what == "abort":
        print("what():  std::bad_alloc", file=sys.stderr)
        os.abort()
    os._exit(7)

def handle(data, context):
    if data is None:
        return None
    held = bytearray(100_000_000)
    held[::4096] = b"x" * len(held[::4096])
    for number in range(60):
        print("line", number, "the secret at /srv/keys/one", file=sys.stderr)
    deep(bytes(data[0]["body"]).decode())
"""


@pytest.mark.parametrize(
    ("what", "how", "facts"),
    [
        ("segfault", "the worker process was killed by SIGSEGV", {"signal": "SIGSEGV"}),
        ("abort", "the worker process was killed by SIGABRT", {"signal": "SIGABRT", "outOfMemory": True}),
        ("exit", "the worker process left with exit code 7", {"exitCode": 7}),
    ],
)
@pytest.mark.parametrize("preload", [True, False], ids=["forked", "spawned"])
def test_the_same_facts_are_told_to_all(
    serve: Start, what: str, how: str, facts: dict[str, object], *, preload: bool
) -> None:
    server = serve({"crash": CRASHES}, f"{ONE}preload: {str(preload).lower()}\n")
    answer = server.client.post(
        "/predictions/crash", content=what.encode(), headers={"x-request-id": f"the-{what}"}
    )
    cause = answer.json()["cause"]
    assert (answer.status_code, answer.json()["message"]) == (500, "Worker died.")
    assert cause.startswith(how)
    assert "secret" not in cause
    assert "/srv" not in cause
    (described,) = server.manage.get("/models/crash").json()
    found = described["lastFailure"]
    assert found["cause"].startswith(how)
    assert found.items() >= facts.items()
    assert len(found["requests"]) == 1
    assert [line for line in found["stderr"] if "secret" in line][-1] == (
        "line 59 the secret at /srv/keys/one"
    )
    assert len(found["stderr"]) == 50
    if preload:
        assert 100e6 < found["peakRss"] < 10e9
        assert f"it held {found['peakRss'] / 1e6:.0f} MB at most" in cause
    if what != "exit":
        assert found["place"].startswith("crash_handler.py, line ")
        assert found["place"] in cause
        assert any(line.endswith("in deep") for line in found["traceback"])
    assert found["do"] in cause
    record = server.wait_for(r"W-\d+-crash_1.0 has ended: (.*)\n(?:  .*\n)+")
    assert record[1] == found["cause"]
    for fact in (found["requests"][0], found["do"], found["stderr"][-1], *found["traceback"]):
        assert fact in record[0]
    assert server.stop()["failed"] == 1


STATE_DICT = """
class Handler:
    def initialize(self, context):
        wrong = "Missing key(s) in state_dict: \\"fc.w\\"."
        raise RuntimeError("Error(s) in loading state_dict for Net:\\n\\t" + wrong)

    def handle(self, data, context):
        return data
"""
CAUSE = (
    "the model could not be loaded: RuntimeError: Error(s) in loading state_dict for Net: "
    'Missing key(s) in state_dict: "fc.w".'
)


def test_a_load_that_fails_has_one_cause_everywhere_and_one_traceback_in_the_log(serve: Start) -> None:
    server = serve({"broken": STATE_DICT}, ONE, enable_model_api="true")
    answer = server.client.post("/predictions/broken", content=b"x")
    assert answer.status_code == 503
    told = answer.json()["cause"].removeprefix("no worker could be started: ")
    assert told == (
        f"{CAUSE} (broken_handler.py, line 5, in initialize). "
        "Pack the model file and the weights of one and the same model: their names and shapes differ."
    )
    server.wait_for(r"again, the same \(3 times\)")
    (described,) = server.manage.get("/models/broken").json()
    assert described["lastFailure"]["cause"] == CAUSE
    assert described["lastFailure"]["traceback"][0] == "Traceback (most recent call last):"
    assert described["lastFailure"]["times"] >= 3
    ready = server.client.get("/v2/health/ready")
    assert (ready.status_code, told in ready.json()["error"]) == (503, True)
    of_model = server.client.get("/v2/models/broken/ready")
    assert (of_model.status_code, told in of_model.json()["error"]) == (503, True)
    (indexed,) = server.client.post("/v2/repository/index").json()
    assert told in indexed["reason"]
    server.stop()
    assert len(re.findall(r"Traceback \(most recent call last\)", server.output)) == 2, "stderr, record"


def test_a_package_that_is_listed_but_not_installed_is_told_with_its_setting(
    serve: Start, tmp_path: Path
) -> None:
    server = serve({"needs": "import nothing_of_that_name\n"}, ONE)
    eventually(lambda: "lastFailure" in server.manage.get("/models/needs").text)
    (described,) = server.manage.get("/models/needs").json()
    assert described["lastFailure"]["do"] == "pip install nothing-of-that-name where the server runs"
    assert described["lastFailure"]["place"] == "needs_handler.py, line 1, in <module>"


HANGS = """
import time

def wait_for_ever():
    while True:
        time.sleep(1000)

def handle(data, context):
    if data:
        wait_for_ever()
"""


@pytest.mark.parametrize("preload", [True, False], ids=["forked", "spawned"])
def test_a_worker_that_does_not_answer_in_time_says_where_it_is(serve: Start, *, preload: bool) -> None:
    config = f"{ONE}responseTimeout: 1\npreload: {str(preload).lower()}\n"
    server = serve({"hangs": HANGS}, config, strict_statuses=str(preload).lower())
    answer = server.client.post("/predictions/hangs", content=b"x")
    assert answer.status_code == (504 if preload else 500)
    assert answer.json()["cause"] == (
        "no answer within 1 s (response timeout, set by responseTimeout) "
        "(hangs_handler.py, line 6, in wait_for_ever)"
    )
    (described,) = server.manage.get("/models/hangs").json()
    assert any(line.endswith("in handle") for line in described["lastFailure"]["traceback"])
    assert server.stop()["failed"] == 1


WRONG = """
import json

def handle(data, context):
    if data is None:
        return None
    what = bytes(data[0]["body"]).decode()
    if what == "two":
        return ["one", "two"]
    if what == "none":
        return "no list"
    if what == "set":
        return [{1}]
    if what == "deep":
        return [json.loads("{")]
    return [0]
"""


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("two", "the handler returned 2 results for 1 requests"),
        ("none", "the handler returned str, not a list"),
        ("set", "TypeError: Object of type set is not JSON serializable"),
    ],
)
def test_what_a_handler_returns_wrongly_is_logged_with_the_request(
    serve: Start, what: str, cause: str
) -> None:
    server = serve({"wrong": WRONG}, ONE)
    answer = server.client.post("/predictions/wrong", content=what.encode())
    assert answer.status_code == 503
    assert answer.json()["cause"].startswith(cause)
    server.wait_for(f"request {answer.headers['x-request-id']}: {re.escape(cause)}")


def test_a_fault_of_a_handler_has_its_place(serve: Start) -> None:
    server = serve({"wrong": WRONG}, ONE)
    answer = server.client.post("/predictions/wrong", content=b"deep")
    assert answer.json()["cause"].startswith("json.decoder.JSONDecodeError: Expecting property name enclosed")
    assert answer.json()["cause"].endswith("(wrong_handler.py, line 15, in handle)")
