"""The clock is set, an hour forth and back: nothing but the times in the logs changes."""

from __future__ import annotations

import ast
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from scene import server_of, target_of  # type: ignore[import-not-found]

import torchkeeper
from servers import Server, eventually

pytestmark = pytest.mark.slow

SOURCE = Path(torchkeeper.__file__).parent
#: Where the wall clock is read in the front, and why; what waits or expires goes by `time.monotonic`.
WALL_CLOCK = {
    "archive/archive.py": "the time that an archive is said to be made",
    "archive/source.py": "the age of files that other servers have left",
    "config/snapshot.py": "names of snapshots, which are in order even if the clock is not",
    "keys/key_file.py": "keys expire at a time that is told to people",
    "logs/logs.py": "the time of a line",
    "metrics/intake.py": "the time of a sample in a line",
    "pool/failures.py": "when a worker failed, as it is told",
    "pool/pool.py": "when a worker was started, as it is told",
    "pool/worker.py": "when a worker was started, as it is told",
}


def wall_clock(path: Path) -> bool:
    """Whether a module reads it."""
    names = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")
    found = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
    return any(ast.unparse(node) in names for node in found)


def test_only_what_tells_people_the_time_reads_the_wall_clock() -> None:
    front = (path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in WORKERS)
    assert {str(path.relative_to(SOURCE)) for path in front if wall_clock(path)} == set(WALL_CLOCK)


#: What runs in workers, or in commands of their own.
WORKERS = ("handler", "worker", "envelope", "testing.py", "doctor", "export", "manifest", "client")


#: Sets the wall clock of the front and its workers by what a file says, and no other clock.
SET = """
import os, time

if clock := os.environ.get("CHAOS_CLOCK"):
    now, now_ns = time.time, time.time_ns

    def ahead():
        with open(clock) as file:
            return int(file.read() or 0)

    time.time = lambda: now() + ahead()
    time.time_ns = lambda: now_ns() + ahead() * 10**9
"""


def test_a_clock_that_jumps_costs_nobody_anything(tmp_path: Path) -> None:
    clock, planted = tmp_path / "clock", tmp_path / "planted"
    clock.write_text("0")
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(SET)
    server = server_of(tmp_path, path=(planted,), environ={"CHAOS_CLOCK": str(clock)})
    target = target_of(server)
    for hours in (1, -1, 0):
        clock.write_text(str(hours * 3600))
        begin = time.monotonic()
        for number in range(30):
            body = f"{hours} h, number {number}"
            assert server.client.post("/predictions/echo", content=body).text == body
        (victim, *_) = target.workers()
        victim.kill()
        eventually(lambda gone=victim.pid: _replaced(server, gone))
        query = {"url": "other-1.0.mar", "initial_workers": 1, "synchronous": "true"}
        assert server.manage.post("/models", params=query).status_code == 200
        assert server.manage.delete("/models/other").status_code == 200
        assert time.monotonic() - begin < 60, "somebody has waited for the clock"
        # Else it has not jumped, and this shows nothing.
        eventually(lambda hours=hours: abs(_said_last(server) - time.time() - hours * 3600) < 600)
    assert server.stop()["failed"] == 0


def _said_last(server: Server) -> float:
    """The time of the last line of the log."""
    return datetime.fromisoformat(re.findall(r"^(\S+),\d{3} ", server.output, re.MULTILINE)[-1]).timestamp()


def _replaced(server: Server, gone: int) -> bool:
    (found,) = server.manage.get("/models/echo").json()
    serving = {worker["pid"] for worker in found["workers"] if worker["status"] == "READY"}
    return len(serving) == 2 and gone not in serving
