"""Posts one body again and again: wrk over HTTP/1.1, h2load over HTTP/2, and what both print.

Knows nothing of servers, protocols or tables. h2load would do HTTP/1.1 too, but sees no status in the answers
of TorchServe, whose status line has no reason phrase.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servebench.errors import BenchError
from servebench.load import Cell, parse_wrk
from servebench.paths import BENCH


@dataclass(frozen=True)
class Post:
    """What is posted: where, what, and whether by HTTP/2 with prior knowledge (else HTTP/1.1)."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str]
    http2: bool


def load(post: Post, connections: int, seconds: int, answer_bytes: int | None) -> Cell:
    """One request after the other on each connection, from one thread.

    Args:
        answer_bytes: bytes of a right answer's body over HTTP/2, where gRPC's status does not tell it from a
            wrong one.
    """
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        body, log = Path(name) / "body", Path(name) / "log"
        body.write_bytes(post.body)
        url = f"http://127.0.0.1:{post.port}{post.path}"
        if not post.http2:
            fields = [text for pair in post.headers.items() for text in pair]
            command = ["wrk", "--latency", "--timeout", "10s", "-t1", f"-c{connections}"]
            command += [f"-d{seconds}s", "-s", str(BENCH / "post.lua"), url, "--", str(body), *fields]
            return parse_wrk(_run(command))
        command = ["h2load", "-t1", f"-c{connections}", "-m1", f"-D{seconds}"]
        command += ["-d", str(body), f"--log-file={log}"]
        fields = [f"-H{header}: {value}" for header, value in post.headers.items()]
        return parse(_run([*command, *fields, url]), log.read_text(), seconds, answer_bytes)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise BenchError(f"{command[0]} failed: {last[0]}")
    return done.stdout


def parse(report: str, log: str, seconds: float, answer_bytes: int | None) -> Cell:
    """h2load's report, and its log with a line per request: start in µs, status, duration in µs."""
    rows = [line.split("\t") for line in log.splitlines()]
    times = sorted(int(row[2]) for row in rows if row[1] == "200")
    failed = re.search(r"requests: .* (\d+) failed, (\d+) errored, (\d+) timeout", report)
    if failed is None or not times:
        raise BenchError(f"h2load counted nothing: {' '.join(report.split())[-300:] or 'no output'}")
    errors = len(rows) - len(times) + int(failed[1])
    data = re.search(r"traffic: .*\((\d+)\) data", report)
    if answer_bytes is not None and data is not None:
        # In duration mode the count covers the measured time, give or take an answer per connection.
        errors += max(0, round(len(times) - int(data[1]) / answer_bytes) - 64)
    return Cell(len(times) / seconds, _at(times, 50), _at(times, 99), errors)


def _at(times: list[int], percent: int) -> float:
    """A percentile of microseconds, in milliseconds."""
    return times[min(len(times) - 1, len(times) * percent // 100)] / 1000
