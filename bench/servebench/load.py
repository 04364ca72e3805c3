"""Runs wrk and understands what it prints. Knows URLs and pictures, nothing of servers or tables."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from servebench.errors import BenchError
from servebench.inputs import COUNT
from servebench.paths import BENCH

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Cell:
    """One measurement: right answers per second, latencies in milliseconds, requests that failed."""

    rate: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True)
class Checked:
    """What the warm-up found when it compared every answer with the one that belongs to its picture."""

    right: int
    wrong: int
    refused: int


def parse_wrk(text: str) -> Cell:
    """Reads wrk's report (with `--latency`); failed requests count as errors, not towards the rate."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if total is None:
        raise BenchError(f"wrk printed no result: {' '.join(text.split())[:200] or 'nothing'}")
    requests, seconds = int(total[1]), float(total[2]) * _MILLISECONDS[total[3]] / 1000
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = int(refused[1]) if refused else 0
    lost = sum(int(number) for number in sockets.groups()) if sockets else 0
    return Cell(
        rate=(requests - bad) / seconds,
        p50=_percentile(text, 50),
        p99=_percentile(text, 99),
        errors=bad + lost,
    )


def parse_checked(text: str) -> Checked:
    """Reads the line that the script prints after comparing answers."""
    found = re.search(r"Checked: (\d+) right, (\d+) wrong, (\d+) refused", text)
    if found is None:
        raise BenchError(f"wrk compared no answers: {' '.join(text.split())[:200] or 'nothing'}")
    return Checked(*(int(number) for number in found.groups()))


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(found[1]) * _MILLISECONDS[found[2]] if found else float("nan")


@dataclass(frozen=True)
class Target:
    """Where the load goes and what it is made of."""

    port: int
    model: str
    pictures: Path
    answers: Path

    def warm_up(self, connections: int, seconds: float) -> Checked:
        """Loads the server with one thread per connection and compares every answer."""
        text = self._wrk(connections, connections, seconds, str(self.answers))
        return parse_checked(text)

    def measure(self, connections: int, seconds: float) -> Cell:
        """Loads the server from one thread, whose script costs nothing per answer."""
        return parse_wrk(self._wrk(1, connections, seconds))

    def _wrk(self, threads: int, connections: int, seconds: float, *answers: str) -> str:
        command = ["wrk", "--latency", "--timeout", "10s", f"-t{threads}", f"-c{connections}"]
        command += [f"-d{max(1, round(seconds))}s", "-s", str(BENCH / "rotate.lua")]
        command += [f"http://127.0.0.1:{self.port}", "--", str(self.pictures), str(COUNT)]
        command += [f"/predictions/{self.model}", *answers]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            raise BenchError(f"wrk failed: {last[0]}")
        return done.stdout
