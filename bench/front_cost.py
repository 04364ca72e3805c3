"""The processor time that the front takes for a request, beside uvicorn with an application that only echoes.

    .venv/bin/python bench/front_cost.py [--rounds 7] [--seconds 3] [--before ../before]

All servers run at once and are loaded in turns, so that what the machine does meanwhile meets all: uvicorn
(uvloop, httptools, no access log) with bench/bare_app.py, and torchkeeper with the echo archive (batchSize
16, one worker), with all logs off and as it is by default (access log and metrics on); with `--before` that
of another checkout, too. What is measured is utime + stime of the process that has the listening socket, over
the requests that wrk counts: the workers' time is none of it. Each ratio is of neighbouring turns.

Then the memory: of the front's peak with one large body, and of 1,000 idle connections.
Saves the tables as bench/results/<date>-front-cost.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from servebench import bare, inputs, tables
from servebench.errors import BenchError
from servebench.inputs import Variant
from servebench.load import parse_wrk
from servebench.machine import machine, versions
from servebench.paths import BENCH, CACHE, OURS, RESULTS
from servebench.plan import BATCH
from servebench.servers import TORCHKEEPER, Question, descendants, serving

MODEL, SIZES = "bench", "sizes"
PATH = f"/predictions/{MODEL}"
STORE = CACHE / "store"
SET_UPS = ("logs off", "defaults")
PARTS = ("memory", "cost", "cores")
#: Bytes of the small body.
SMALL = 272
MEGABYTE = 1_000_000
IDLE = 1000
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One that runs: its port and the process that has the clients' connections."""

    name: str
    port: int
    pid: int

    def seconds(self) -> float:
        """Processor time that the process has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self, kind: str) -> int:
        """Bytes of VmRSS or VmHWM."""
        found = re.search(rf"^{kind}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        if found is None:
            raise BenchError(f"/proc tells no {kind} of {self.name}")
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Has the kernel begin its peak of memory anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Load:
    """What wrk does: connections, requests at a time on each, and the body's bytes."""

    name: str
    connections: int
    at_once: int = 1
    size: int = SMALL

    def microseconds(self, server: Server, body: Path, seconds: float) -> float:
        """Processor time of the front per request.

        Raises:
            BenchError: not all were answered.
        """
        command = ["wrk", "--latency", "--timeout", "30s", "-t1", f"-c{self.connections}"]
        command += [f"-d{max(1, round(seconds))}s", "-s", str(BENCH / "pipelined.lua")]
        command += [f"http://127.0.0.1:{server.port}", "--", str(body), PATH, str(self.at_once)]
        before = server.seconds()
        text = subprocess.run(command, capture_output=True, text=True).stdout
        taken = server.seconds() - before
        if errors := parse_wrk(text).errors:
            raise BenchError(f"{server.name}: {errors} requests failed ({self.name})")
        answered = re.search(r"(\d+) requests in", text)
        if answered is None:
            raise BenchError(f"wrk printed no result: {text[:200]}")
        return taken / int(answered[1]) * 1e6


LOADS = (
    Load("1 connection", 1),
    Load("64 connections", 64),
    Load("256 connections", 256),
    Load("16 connections, 8 requests at a time", 16, 8),
    Load("8 connections, 1 MB", 8, size=MEGABYTE),
    Load("4 connections, 10 MB", 4, size=10 * MEGABYTE),
)


@contextmanager
def ours(name: str, venv: Path, *, logs: bool) -> Iterator[Server]:
    """torchkeeper of an environment with the echo archive."""
    kind = replace(TORCHKEEPER, name=name, venv=venv, tunable=not logs)
    models = {
        name: inputs.build_archive(Variant(workload, BATCH, workers=1), TORCHKEEPER.archiver, STORE).name
        for name, workload in ((MODEL, "echo"), (SIZES, "sizes"))
    }
    settings = {key: str(60 * MEGABYTE) for key in ("max_request_size", "max_response_size")}
    settings["job_queue_size"] = "1000"  # 256 clients wait at once
    question = Question(f"/predictions/{SIZES}", b"1", b"\0")
    with serving(kind, STORE, models, not logs, question, settings) as running:
        yield Server(name, running.port, running.front)


def cost_rows(
    servers: Sequence[Server], loads: Sequence[Load], rounds: int, seconds: float
) -> Iterator[tuple[str, ...]]:
    """Per load: microseconds of each server (medians), and its ratio to the first one, with its spread."""
    with tempfile.TemporaryDirectory(prefix="front-cost-") as folder:
        for load in loads:
            body = Path(folder, str(load.size))
            body.write_bytes(os.urandom(load.size))
            found: dict[str, list[float]] = {server.name: [] for server in servers}
            for turn in range(rounds):
                for server in servers[:: 1 if turn % 2 else -1]:
                    found[server.name].append(load.microseconds(server, body, seconds))
            bare_times = found[servers[0].name]
            for name, times in found.items():
                ratios = sorted(one / other for one, other in zip(times, bare_times, strict=True))
                median = statistics.median(times)
                per_megabyte = f"{median / load.size * 1000:.2f}" if load.size >= MEGABYTE else "-"
                spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
                yield (
                    load.name,
                    name,
                    f"{median:.1f}",
                    per_megabyte,
                    f"{statistics.median(ratios):.2f}",
                    spread,
                )


def exchanged(port: int, sent: int, received: int) -> None:
    """Posts zeros, or a number, to the model of sizes and reads the answer, holding neither whole.

    Raises:
        BenchError: the answer is not what was asked for.
    """
    body = b"%d" % received
    with socket.create_connection(("127.0.0.1", port)) as sock:
        head = b"POST /predictions/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        sock.sendall(head % (SIZES.encode(), sent or len(body)))
        for _ in range(sent // MEGABYTE):
            sock.sendall(bytes(MEGABYTE))
        if not sent:
            sock.sendall(body)
        left = received or 1
        while left > 0 and (got := sock.recv(MEGABYTE)):
            left -= len(got)
        if left > 0:
            raise BenchError("a large body was not answered")


def peak_rows(servers: Sequence[Server]) -> Iterator[tuple[str, ...]]:
    """The front's peak of memory above its rest before all of these, while a body comes or goes alone."""
    for server in servers:
        exchanged(server.port, 0, 1)
    rest = {server.name: server.memory("VmRSS") for server in servers}
    for size in (MEGABYTE, 10 * MEGABYTE, 50 * MEGABYTE):
        for what, sent, received in (("request", size, 0), ("answer", 0, size)):
            for server in servers:
                grown = []
                for _ in range(6):
                    server.forget_peak()
                    exchanged(server.port, sent, received)
                    grown.append(server.memory("VmHWM") - rest[server.name])
                median = statistics.median(grown[1:])
                name = f"{what} of {size / 1e6:.0f} MB"
                yield name, server.name, f"{median / 1e6:.1f}", f"{median / size:.2f}"


def idle_rows(servers: Sequence[Server]) -> Iterator[tuple[str, ...]]:
    """What connections take that have had an answer and wait."""
    for server in servers:
        before = server.memory("VmRSS")
        with ExitStack() as stack:
            for _ in range(IDLE):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                sock.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" % PATH.encode())
                if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise BenchError(f"{server.name} did not answer one of {IDLE} connections")
            grown = server.memory("VmRSS") - before
        yield server.name, f"{grown / 1e6:.1f}", f"{grown / IDLE / 1000:.1f}"


def capacity_rows(rounds: int, seconds: float) -> Iterator[tuple[str, ...]]:
    """Processor time of the front and of its workers per request: how many cores one front keeps busy."""
    picture = inputs.pictures() / "0000.png"
    for workload in ("echo", "mnist"):
        archive = inputs.build_archive(Variant(workload, BATCH), TORCHKEEPER.archiver, STORE)
        question = Question(PATH, picture.read_bytes(), b"right", lambda body: b"right" if body else body)
        with serving(TORCHKEEPER, STORE, {MODEL: archive.name}, False, question) as running:
            front = Server(workload, running.port, running.front)
            workers = [Server(workload, 0, pid) for pid in descendants(running.pid) if pid != front.pid]
            fronts, others = [], []
            for _ in range(rounds):
                before = sum(worker.seconds() for worker in workers), front.seconds()
                micros = LOADS[1].microseconds(front, picture, seconds)
                took = sum(worker.seconds() for worker in workers) - before[0]
                fronts.append(micros)
                others.append(micros * took / (front.seconds() - before[1]))
        ratio = statistics.median(other / one for one, other in zip(fronts, others, strict=True))
        times = (statistics.median(fronts), statistics.median(others))
        yield workload, *(f"{time:.0f}" for time in times), f"{ratio:.1f}", tables.number(1e6 / times[0])


def rate(ports: Sequence[int], body: Path, seconds: float) -> float:
    """Answers per second of several servers together, 64 connections in all."""
    options = ["--latency", "-t1", f"-c{64 // len(ports)}", f"-d{max(1, round(seconds))}s"]
    options += ["-s", str(BENCH / "pipelined.lua")]
    commands = [["wrk", *options, f"http://127.0.0.1:{port}", "--", str(body), PATH, "1"] for port in ports]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return sum(parse_wrk(process.communicate()[0]).rate for process in running)


def split_rows(rounds: int, seconds: float) -> Iterator[tuple[str, ...]]:
    """One front with two workers, and two fronts with one each: what the same cores answer."""
    picture = inputs.pictures() / "0000.png"
    kind = replace(TORCHKEEPER, tunable=True)  # one thread for each worker, logs off
    for workload in ("echo", "mnist"):
        question = Question(PATH, picture.read_bytes(), b"right", lambda body: b"right" if body else body)
        with ExitStack() as stack:
            ports = []
            for workers in (2, 1, 1):
                variant = Variant(workload, BATCH, workers=workers)
                archive = inputs.build_archive(variant, TORCHKEEPER.archiver, STORE)
                models = {MODEL: archive.name}
                ports.append(stack.enter_context(serving(kind, STORE, models, True, question)).port)
            pairs = [
                (rate(ports[:1], picture, seconds), rate(ports[1:], picture, seconds)) for _ in range(rounds)
            ]
        medians = [statistics.median(rates) for rates in zip(*pairs, strict=True)]
        ratios = sorted(two / one for one, two in pairs)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        yield workload, *map(tables.number, medians), f"{statistics.median(ratios):.2f}", spread


def begun(stack: ExitStack, before: Path | None) -> list[Server]:
    """All servers, uvicorn first; those of an earlier checkout, too."""
    servers = [Server(bare.NAME, *stack.enter_context(bare.running()))]
    checkouts = [] if before is None else [("before, ", before.resolve() / ".venv")]
    for name, venv in (*checkouts, ("torchkeeper, ", OURS)):
        servers += [stack.enter_context(ours(name + logs, venv, logs=logs != "logs off")) for logs in SET_UPS]
    return servers


def memory(servers: Sequence[Server]) -> Iterator[str]:
    """What servers hold that have just been started: later they have memory left from before."""
    yield "## Memory of the front\n"
    yield tables.markdown((f"{IDLE} idle connections", "MB", "KB each"), list(idle_rows(servers)))
    yield tables.markdown(("body", "server", "peak MB", "of the body"), list(peak_rows(servers[1:])))


def cost(servers: Sequence[Server], rounds: int, seconds: float) -> Iterator[str]:
    """Processor time."""
    yield "## Processor time\n"
    head = ("load", "server", "µs per request", "ms per MB", "of uvicorn's", "rounds")
    yield tables.markdown(head, list(cost_rows(servers, LOADS, rounds, seconds)))


def cores(rounds: int, seconds: float) -> Iterator[str]:
    """How cores are filled."""
    yield "## Front and workers, 64 connections, batchSize 16, defaults\n"
    head = ("workload", "front µs", "workers µs", "workers ÷ front", "requests/s of one front's core")
    yield tables.markdown(head, list(capacity_rows(rounds, seconds)))
    yield "## One front or two on the same cores, answers per second, logs off\n"
    head = ("workload", "one front, two workers", "two fronts, one worker each", "ratio", "rounds")
    yield tables.markdown(head, list(split_rows(rounds, seconds)))


def main(argv: list[str]) -> int:
    """Measures, prints and saves; 1 with one line when something is missing."""
    parser = argparse.ArgumentParser(prog="bench/front_cost.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--before", type=Path, help="folder of an earlier checkout, with its .venv")
    parser.add_argument("--only", choices=PARTS, help="print one part, save nothing")
    args = parser.parse_args(argv)
    parts: list[str] = []
    try:
        bare.prepare()
        with ExitStack() as stack:
            servers = begun(stack, args.before) if args.only != "cores" else []
            if args.only in (None, "memory"):
                parts += memory(servers)
            if args.only in (None, "cost"):
                parts += cost(servers, args.rounds, args.seconds)
        if args.only in (None, "cores"):
            parts += cores(args.rounds, args.seconds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    text = "\n".join(
        (
            f"# The front's processor time and memory, {date}\n",
            f"`bench/front_cost.py --rounds {args.rounds} --seconds {args.seconds:g}`; a body of {SMALL} "
            "bytes where no other is named. What is measured and how: docs/performance.md.\n",
            *parts,
            "## Machine and versions\n",
            tables.markdown(
                ("what", "value"),
                [
                    *machine(),
                    *versions({"torchkeeper": OURS}),
                    ("uvicorn's environment", ", ".join(bare.PACKAGES)),
                ],
            ),
        )
    )
    if args.only is None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{date}-front-cost.md").write_text(text)
    Console().print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
