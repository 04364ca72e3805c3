"""Workers that wear out are replaced: the next one serves before the last one goes, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import Server, Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

HANDLER = """
import os

kept = []

def handle(data, context):
    if data is None:
        return None
    for row in data:
        kept.append(b"x" * int(row["body"]))
    return [str(os.getpid())] * len(data)
"""
#: Bytes that a request leaves in its worker.
LEAK = 200_000


def ask(server: Server, size: int = 0) -> str:
    answer = server.client.post("/predictions/leaky", content=b"%d" % size)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def workers(server: Server) -> list[dict[str, object]]:
    found: list[dict[str, object]] = server.manage.get("/models/leaky").json()[0]["workers"]
    return found


def test_a_worker_goes_after_its_requests_and_none_is_lost(serve: Start) -> None:
    server = serve({"leaky": HANDLER}, "minWorkers: 2\nmaxWorkers: 2\nmaxRequestsPerWorker: 50\n")
    pids: set[str] = set()

    def several_workers_have_gone() -> bool:
        with ThreadPoolExecutor(8) as threads:
            pids.update(threads.map(lambda _: ask(server), range(100)))
        return len(pids) > 6

    eventually(several_workers_have_gone)
    assert len(workers(server)) == 2
    server.wait_for(r"\(maxRequestsPerWorker: 50\)")
    ledger = server.stop()
    assert (ledger["failed"], ledger["refused"]) == (0, 0)


def test_a_worker_that_grows_is_told_of_and_replaced(serve: Start) -> None:
    server = serve({"leaky": HANDLER}, "minWorkers: 1\nmaxWorkers: 1\nmaxWorkerRss: 2000\n")
    first = ask(server)

    def its_growth_is_known() -> bool:
        for _ in range(20):
            ask(server, LEAK)
        (worker,) = workers(server)
        return "bytesPerRequest" in worker

    eventually(its_growth_is_known)
    (worker,) = workers(server)
    assert worker["bytesPerRequest"] == pytest.approx(LEAK, rel=0.2)
    page = server.metrics.get("/metrics").text
    (line,) = [line for line in page.splitlines() if line.startswith("torchkeeper_worker_growth_bytes{")]
    assert float(line.split()[-1]) == pytest.approx(LEAK, rel=0.2)
    eventually(lambda: ask(server, 50_000_000) != first)
    server.wait_for(r"\(maxWorkerRss: 2000 MB\)")
    assert server.stop()["failed"] == 0


def test_a_bound_that_loading_alone_passes_replaces_nobody(serve: Start) -> None:
    settings = "minWorkers: 1\nmaxWorkers: 1\nmaxWorkerRss: 1\nmaxRequestsPerWorker: 5\n"
    server = serve({"leaky": HANDLER}, settings)
    server.wait_for(r"more than maxWorkerRss \(1 MB\), which has no effect")
    first = ask(server)
    eventually(lambda: ask(server) != first)
    assert server.stop()["failed"] == 0
    assert "is replaced: it holds" not in server.output


def test_a_worn_worker_stays_until_another_one_can_load(serve: Start, tmp_path: Path) -> None:
    flag = tmp_path / "no more"
    raises = f"if os.path.exists({str(flag)!r}):\n    raise RuntimeError('cannot load any more')\n"
    config = "minWorkers: 1\nmaxWorkers: 1\nmaxRequestsPerWorker: 5\nshareImports: false\n"
    server = serve({"leaky": HANDLER + raises}, config)
    first = ask(server)
    flag.touch()
    for _ in range(5):
        ask(server)
    server.wait_for("cannot load any more")
    assert ask(server) == first
    assert server.stop()["failed"] == 0
