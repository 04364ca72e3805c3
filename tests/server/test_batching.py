"""Batches of a real worker: what adaptive batching learns of them is told, and what they may cost holds."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

#: A batch costs 5 ms and more, however many requests are in it: an accelerator, seen from outside.
HANDLER = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.005)
    return [str(len(data))] * len(data)
"""


def test_what_was_learned_and_what_batches_cost_is_in_the_description_and_the_metrics(serve: Start) -> None:
    config = "batchSize: 8\nminWorkers: 1\nmaxWorkers: 1\nbatchCost: X-Tokens\nmaxBatchCost: 6\n"
    server = serve({"slow": HANDLER}, config)
    together = set()

    def ask(tokens: str | None) -> httpx.Response:
        headers = {} if tokens is None else {"x-tokens": tokens}
        return server.client.post("/predictions/slow", content=b"x", headers=headers)

    def asked() -> bool:
        with ThreadPoolExecutor(4) as threads:
            together.update(answer.text for answer in threads.map(ask, ["2"] * 40))
        return "fixedMs" in server.manage.get("/models/slow").json()[0]["batching"]

    eventually(asked)
    assert together <= {"1", "2", "3"}, "four of two cost more than six"
    with ThreadPoolExecutor(8) as threads:
        assert {answer.text for answer in threads.map(ask, ["9"] * 8)} == {"1"}
    for tokens, why in ((None, "needs a header X-Tokens"), ("many", "must be a number from 0")):
        refused = ask(tokens)
        assert refused.status_code == 400
        assert why in refused.json()["message"]
    (told,) = server.manage.get("/models/slow").json()
    assert (
        told["batching"].items() >= {"policy": "adaptive", "maxBatchCost": 6, "batchCost": "X-Tokens"}.items()
    )
    assert told["batching"]["fixedMs"] + told["batching"]["eachMs"] >= 5
    assert 0 < told["batching"]["meanFill"] <= 1
    page = server.metrics.get("/metrics").text
    for name in ("fixed_seconds", "each_seconds", "wait_seconds", "concurrency"):
        assert f'torchkeeper_batch_{name}{{model_name="slow"' in page


#: Answers each request with its own text, and says beside it how many were computed together.
RIGHT = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.005)
    for place in range(len(data)):
        context.set_response_header(place, "X-Together", str(len(data)))
    return [row["body"] for row in data]
"""


@pytest.mark.slow
def test_a_batch_size_that_is_left_to_warm_up_is_1_where_rows_are_mixed_up(serve: Start) -> None:
    mixed = RIGHT.replace('[row["body"] for row in data]', '[data[0]["body"]] * len(data)')
    config = "batchSize: auto\nminWorkers: 1\nmaxWorkers: 1\n"
    server = serve({"right": RIGHT, "mixed": mixed}, config, samples=("one", "three", "two"))
    why = "three.txt in a batch of 2: 'three' became 'one'"
    expected = {"right": (64, {"auto": 64}), "mixed": (1, {"auto": 1, "why": why})}

    def described(name: str) -> tuple[int, object]:
        (told,) = server.manage.get(f"/models/{name}").json()
        return told["batchSize"], told["batching"]["batchSize"]

    eventually(lambda: {name: described(name) for name in expected} == expected)
    server.wait_for(f"W-.*-mixed_1.0: batchSize: auto stays at 1: {re.escape(why)}")
    together: dict[str, set[str]] = {name: set() for name in expected}

    def ask(name: str, text: str) -> None:
        answer = server.client.post(
            f"/predictions/{name}", content=text, headers={"Content-Type": "text/plain"}
        )
        assert answer.text == text
        together[name].add(answer.headers["X-Together"])

    def asked() -> bool:
        with ThreadPoolExecutor(16) as threads:
            for name in together:
                list(threads.map(ask, [name] * 40, map(str, range(40))))
        return together["right"] > {"1"}

    eventually(asked)
    assert together["mixed"] == {"1"}
    assert server.output.count("stays at 1") == 1
