"""A thousand workers are killed (50 without time): nothing of them stays, and each is replaced at once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

import pytest
from scene import LONG, calm, private, server_of, settle, target_of  # type: ignore[import-not-found]

from servers import Server

pytestmark = pytest.mark.slow

KILLS = 1000 if LONG else 50


def shared_memory(server: Server) -> list[str]:
    """What lies in the shared memory that the server sees."""
    return sorted(os.listdir(f"/proc/{server.process.pid}/root/dev/shm"))


def ready(server: Server) -> set[int]:
    """The processes of workers that serve."""
    (found,) = server.manage.get("/models/echo").json()
    return {worker["pid"] for worker in found["workers"] if worker["status"] == "READY"}


def test_nothing_stays_of_workers_that_were_killed(tmp_path: Path) -> None:
    # Where that may be had, a shared memory that no other program uses.
    own = private("/dev/shm", "64m")
    server = server_of(tmp_path, prefix=own or ())
    target = target_of(server)
    before, memory = calm(server), shared_memory(server)
    took = []
    for _ in range(KILLS):
        worker = target.chance.choice(target.workers())
        worker.kill()
        begin = time.monotonic()
        while len(serving := ready(server)) < 2 or worker.pid in serving:
            assert time.monotonic() < begin + 60
        took.append(time.monotonic() - begin)
        assert server.client.post("/predictions/echo", content=b"there").text == "there"
    print(
        f"\n{KILLS} workers killed; replaced within {median(took):.3f} s (median), {max(took):.3f} s (most)"
    )
    settle(server, before)
    if own:
        assert shared_memory(server) == memory
    assert server.stop()["failed"] == 0
