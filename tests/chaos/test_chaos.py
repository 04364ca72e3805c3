"""Under load everything goes wrong that can, at random: no request is lost, none gets another one's answer.

CHAOS_SECONDS says how long (15); CHAOS_SEED repeats a run. `make chaos MINUTES=10` is the long form; its
figures stand in the output.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from faults import ENDS_A_WORKER, FAULTS, Fault, Target  # type: ignore[import-not-found]
from load import Load, Outcomes  # type: ignore[import-not-found]

from servers import Server, eventually, make_archive

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
CLIENTS = 8
#: Seconds between two faults that end a worker, and between all others.
REPLACED, PAUSE = 1.0, 0.1

ECHO = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.02)
    return [bytes(row["body"]).decode() for row in data]
"""
#: A handler that gives each request of a batch another one's answer.
SWAPS = ECHO.replace("for row in data]", "for row in data[1:] + data[:1]]")
CONFIG = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nresponseTimeout: 20\n"


def server_of(folder: Path, source: str, config: str = CONFIG) -> Server:
    store = folder / "model_store"
    store.mkdir()
    make_archive(store, "echo", source, config=config)
    make_archive(store, "other", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    return Server(folder, ("echo=echo-1.0.mar",), {"enable_model_api": "true", "job_queue_size": 1000})


def order(chance: random.Random) -> list[Fault]:
    """Each fault once, then at random by their weights."""
    every = list(FAULTS)
    chance.shuffle(every)
    return every + chance.choices(list(FAULTS), list(FAULTS.values()), k=100_000)


async def play(target: Target, seconds: float, clients: int) -> tuple[Outcomes, Counter[str]]:
    """The load, and the faults in it: what became of the requests, and how often each fault happened."""
    happened: Counter[str] = Counter()
    begin = last_end = time.monotonic()
    async with Load(target.port, target.model, clients) as load:
        for fault in order(target.chance):
            now = time.monotonic()
            if now - begin > seconds and len(happened) == len(FAULTS):
                break
            if fault in ENDS_A_WORKER:
                await asyncio.sleep(max(last_end + REPLACED - now, 0))
                last_end = time.monotonic()
            await fault(target)
            happened[fault.__name__] += 1
            await asyncio.sleep(PAUSE)
    return load.outcomes, happened


def state(server: Server) -> dict[str, object]:
    """What must not grow: descriptors, threads, processes, files that the server has made."""
    process = psutil.Process(server.process.pid)
    return {
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "workers": len(server.workers()),
        "files": sorted(path.name.split("-")[0] for path in server.temp.iterdir()),
        "store": sorted(path.name for path in (server.folder / "model_store").iterdir()),
    }


def test_no_request_is_lost(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")
    server = server_of(tmp_path, ECHO)
    eventually(
        lambda: len(server.workers()) == 2 and server.client.get("/v2/health/ready").status_code == 200
    )
    for _ in range(50):
        server.client.post("/predictions/echo", content=b"warm").raise_for_status()
    before, memory = state(server), psutil.Process(server.process.pid).memory_info().rss
    manage = str(server.manage.base_url)
    target = Target(server.process.pid, server.port, manage, "echo", "other-1.0.mar", random.Random(SEED))
    outcomes, happened = asyncio.run(play(target, SECONDS, CLIENTS))
    grown = psutil.Process(server.process.pid).memory_info().rss - memory
    requests = sum(outcomes.statuses.values())
    print(f"faults: {dict(happened)}")
    print(f"requests: {outcomes}; memory of the front: {grown * 10_000 / requests / 1e6:+.1f} MB per 10,000")
    assert set(happened) == {fault.__name__ for fault in FAULTS}, "every fault has to happen"
    assert outcomes.lost == 0, str(outcomes)
    assert requests > 100
    eventually(lambda: state(server) == before)
    assert server.stop()["failed"] == 0


def test_sigterm_under_load_costs_nobody_an_answer(tmp_path: Path) -> None:
    server = server_of(tmp_path, ECHO)

    async def run() -> Outcomes:
        async with Load(server.port, "echo", CLIENTS) as load:
            while load.outcomes.statuses[200] < 50:
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            while load.outcomes.statuses[-1] < CLIENTS:
                await asyncio.sleep(0.01)
        return load.outcomes

    outcomes = asyncio.run(run())
    assert set(outcomes.statuses) == {200, -1}, str(outcomes)
    assert all("ConnectError" in cause for cause in outcomes.causes), str(outcomes)
    assert server.ended(0)["failed"] == 0


async def load_until_lost(port: int) -> Outcomes:
    """Load until something is seen to be lost, for 10,000 answers at most."""
    async with Load(port, "echo", CLIENTS) as load:
        while not load.outcomes.lost and sum(load.outcomes.statuses.values()) < 10_000:
            await asyncio.sleep(0.01)
    return load.outcomes


def test_a_swapped_answer_would_be_seen(tmp_path: Path) -> None:
    server = server_of(tmp_path, SWAPS)
    assert asyncio.run(load_until_lost(server.port)).swapped
    server.stop()


def test_a_lost_request_would_be_seen(tmp_path: Path) -> None:
    source = ECHO.replace("    time.sleep", "    if len(data) > 1:\n        raise ValueError\n    time.sleep")
    server = server_of(tmp_path, source, CONFIG + "splitFailedBatches: false\n")
    assert asyncio.run(load_until_lost(server.port)).lost > 0
    server.stop()
