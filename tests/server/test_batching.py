"""Batches of a real worker: what adaptive batching learns of them is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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


def test_what_was_learned_is_in_the_description_and_the_metrics(serve: Start) -> None:
    server = serve({"slow": HANDLER}, "batchSize: 8\nminWorkers: 1\nmaxWorkers: 1\n")

    def asked() -> bool:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: server.client.post("/predictions/slow", content=b"x"), range(40)))
        return "batching" in server.manage.get("/models/slow").json()[0]

    eventually(asked)
    (told,) = server.manage.get("/models/slow").json()
    assert told["batching"]["policy"] == "adaptive"
    assert told["batching"]["fixedMs"] + told["batching"]["eachMs"] >= 5
    assert 0 < told["batching"]["meanFill"] <= 1
    page = server.metrics.get("/metrics").text
    for name in ("fixed_seconds", "each_seconds", "wait_seconds", "concurrency"):
        assert f'torchkeeper_batch_{name}{{model_name="slow"' in page
