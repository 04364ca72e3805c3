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

import pytest
from faults import ENDS_A_WORKER, FAULTS, Fault, Target  # type: ignore[import-not-found]
from load import Load, Outcomes  # type: ignore[import-not-found]
from manners import MANNERS  # type: ignore[import-not-found]
from scene import CONFIG, ECHO, SECONDS, calm, server_of, settle, target_of  # type: ignore[import-not-found]
from tally import Tally  # type: ignore[import-not-found]

from servers import Server

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
CLIENTS, CALLERS = 6, 2
#: Seconds between two faults that end a worker, and between all others.
REPLACED, PAUSE = 1.0, 0.1

ALL: dict[Fault, int] = {**FAULTS, **MANNERS}
#: A handler that gives each request of a batch another one's answer.
SWAPS = ECHO.replace("for row in data]", "for row in data[1:] + data[:1]]")


def order(chance: random.Random) -> list[Fault]:
    """Each fault once, then at random by their weights."""
    every = list(ALL)
    chance.shuffle(every)
    return every + chance.choices(list(ALL), list(ALL.values()), k=100_000)


async def play(target: Target, seconds: float) -> tuple[Outcomes, Counter[str]]:
    """The load, and the faults in it: what became of the requests, and how often each fault happened."""
    happened: Counter[str] = Counter()
    begin = last_end = time.monotonic()
    async with Load(target.port, target.model, CLIENTS, target.grpc, CALLERS) as load:
        for fault in order(target.chance):
            now = time.monotonic()
            if now - begin > seconds and len(happened) == len(ALL):
                break
            if fault in ENDS_A_WORKER:
                await asyncio.sleep(max(last_end + REPLACED - now, 0))
                last_end = time.monotonic()
            await fault(target)
            happened[fault.__name__] += 1
            await asyncio.sleep(PAUSE)
    return load.outcomes, happened


def counted(server: Server) -> Tally:
    """A tally of what this process itself asks from now on."""
    tally = Tally()
    for client in (server.client, server.manage):
        client.event_hooks = {"response": [lambda answer: tally.take(answer.status_code)]}
    return tally


def ledger_of(server: Server) -> dict[str, int]:
    """The server's ledger as its metrics show it; asking for those is a request, too."""
    lines = server.metrics.get("/metrics").text.splitlines()
    shown = [line for line in lines if line.startswith("torchkeeper_requests{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in shown}


def test_no_request_is_lost(tmp_path: Path) -> None:
    print(f"\nCHAOS_SEED={SEED}")
    server = server_of(tmp_path)
    for _ in range(50):
        server.client.post("/predictions/echo", content=b"warm").raise_for_status()
    before = calm(server)
    ours, earlier = counted(server), ledger_of(server)
    target = target_of(server, SEED)
    outcomes, happened = asyncio.run(play(target, SECONDS))
    print(f"faults: {sum(happened.values())}, {dict(happened)}")
    print(f"requests: {outcomes}")
    assert set(happened) == {fault.__name__ for fault in ALL}, "every fault has to happen"
    assert outcomes.lost == 0, str(outcomes)
    assert min(outcomes.protocols["http"], outcomes.protocols["grpc"]) > 50
    settle(server, before)
    ledger = server.stop()
    tally = target.tally
    tally.answered += outcomes.statuses[200] + ours.answered + 1  # the ledger's page is an answer of its own
    since = {event: count - earlier[event] for event, count in ledger.items()}
    since["answered"] += earlier["accepted"] - sum(earlier[event] for event in earlier if event != "accepted")
    print(f"clients: {tally}; server: {since}")
    assert tally.agrees(since)


def test_sigterm_under_load_costs_nobody_an_answer(tmp_path: Path) -> None:
    server = server_of(tmp_path)
    asked = int(ledger_of(server)["answered"]) + 1  # which was counted after its own page

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
    ledger = server.ended(0)
    assert (ledger["failed"], ledger["gone"]) == (0, 0)
    assert ledger["answered"] == asked + outcomes.statuses[200], "each answer is counted by both sides"


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


@pytest.mark.parametrize(
    ("ledger", "agrees"),
    [
        ({"answered": 10, "refused": 2, "gone": 0, "failed": 0}, True),
        ({"answered": 11, "refused": 2, "gone": 2, "failed": 0}, True),
        ({"answered": 9, "refused": 2, "gone": 3, "failed": 0}, False),
        ({"answered": 12, "refused": 2, "gone": 2, "failed": 0}, False),
        ({"answered": 10, "refused": 2, "gone": 0, "failed": 1}, False),
    ],
)
def test_a_ledger_that_says_something_else_would_be_seen(ledger: dict[str, int], agrees: bool) -> None:
    assert Tally(answered=10, refused=2, left=3).agrees(ledger) is agrees
