"""What is done to a server to see what it loses, and the figures that come of it.

A trial starts a server of its own, does one thing to it and gives its figures in words and numbers. The rows
are those of the scorecard; the same code runs against both servers. Knows nothing of tables.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from servebench.inputs import Variant, build_archive
from servebench.paths import CACHE
from servebench.servers import Kind, Question, Running, children, serving

STORE = CACHE / "store"
MODEL = "trial"
#: Seconds after which a request counts as never answered.
NEVER = 20.0
#: What is answered when no answer came, and when the connection ended instead.
SILENCE, CUT = -1, -2

ALONE = Variant("trial", batch=1, delay=1, workers=1)
TWO = Variant("trial", batch=1, delay=2, workers=2)
FIVE = Variant("trial", batch=1, delay=3, workers=5)
BATCHES = Variant("trial", batch=8, delay=500, workers=1)


@dataclass(frozen=True)
class Answer:
    """Status (or SILENCE, CUT), body, seconds until it was there, and the header Retry-After."""

    status: int
    body: str = ""
    seconds: float = 0.0
    retry_after: str | None = None


def ask(port: int, body: str, timeout: float = NEVER, path: str = f"/predictions/{MODEL}") -> Answer:
    """One request on a connection of its own."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, body.encode())
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        after = response.getheader("Retry-After")
        return Answer(response.status, text, time.monotonic() - begin, after)
    except TimeoutError:
        return Answer(SILENCE, seconds=time.monotonic() - begin)
    except (OSError, http.client.HTTPException):
        return Answer(CUT, seconds=time.monotonic() - begin)
    finally:
        connection.close()


def together(port: int, bodies: Sequence[str], timeout: float = NEVER) -> list[Answer]:
    """All at once, each on a connection of its own."""
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda body: ask(port, body, timeout), bodies))


@contextlib.contextmanager
def server(kind: Kind, variant: Variant, **settings: str) -> Iterator[Running]:
    """The trial's model on a server of that kind."""
    archive = build_archive(variant, kind.archiver, STORE)
    right = Question(f"/predictions/{MODEL}", b"ready", b"ready")
    with serving(kind, STORE, {MODEL: archive.name}, False, right, settings) as running:
        yield running


def manage(running: Running, method: str, path: str) -> tuple[int, str]:
    """A call of the management API."""
    connection = http.client.HTTPConnection("127.0.0.1", running.management_port, timeout=60)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ready_workers(running: Running) -> set[int]:
    """The processes of the workers that serve."""
    workers = json.loads(manage(running, "GET", f"/models/{MODEL}")[1])[0]["workers"]
    return {worker["pid"] for worker in workers if worker["status"] == "READY" and worker["pid"] > 0}


def all_ready(running: Running, count: int) -> set[int]:
    """Those processes, once there are so many."""
    while len(found := ready_workers(running)) < count:
        time.sleep(0.01)
    return found


def kills(kind: Kind, times: int = 5) -> dict[str, float]:
    """kill -9 of one of two workers under load: requests lost per kill, seconds until two serve again."""
    with server(kind, TWO) as running:
        all_ready(running, 2)
        lost, over, took = itertools.count(), threading.Event(), []

        def client(number: int) -> None:
            for turn in itertools.count():
                if over.is_set():
                    return
                body = f"sleep 0.02 {number} {turn}"
                answer = ask(running.port, body)
                if (answer.status, answer.body) != (200, body):
                    next(lost)

        with ThreadPoolExecutor(8) as threads:
            for number in range(8):
                threads.submit(client, number)
            for _ in range(times):
                time.sleep(1.0)
                victim = min(all_ready(running, 2))
                begin = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                while victim in ready_workers(running) or len(ready_workers(running)) < 2:
                    time.sleep(0.005)
                took.append(time.monotonic() - begin)
            over.set()
        return {"lost per kill": next(lost) / times, "s to full capacity": sorted(took)[len(took) // 2]}


def end(kind: Kind) -> dict[str, float]:
    """SIGTERM while five requests run: how many of them are answered."""
    with server(kind, FIVE) as running:
        all_ready(running, 5)
        with ThreadPoolExecutor(5) as threads:
            asked = [threads.submit(ask, running.port, "sleep 1.5") for _ in range(5)]
            time.sleep(0.7)
            first = children(running.pid)[:1] if kind.launcher else [running.pid]
            for pid in first:
                os.kill(pid, signal.SIGTERM)
            answers = [one.result() for one in asked]
        return {"answered of 5": sum(answer.status == 200 for answer in answers)}


def unregister(kind: Kind) -> dict[str, float]:
    """A model is unregistered while ten requests run or wait: how many are never answered."""
    with server(kind, ALONE) as running, ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(ask, running.port, "sleep 0.3", NEVER) for _ in range(10)]
        time.sleep(0.5)
        manage(running, "DELETE", f"/models/{MODEL}")
        return {"unanswered of 10": sum(one.result().status == SILENCE for one in asked)}


def overload(kind: Kind) -> dict[str, float]:
    """250 requests at once for a queue of 100: the slowest refusal, and whether refusals say when to come."""
    with server(kind, ALONE, job_queue_size="100") as running:
        answers = together(running.port, ["sleep 0.05"] * 250, timeout=60)
        refused = [answer for answer in answers if answer.status == 503]
        begin = min(answer.seconds for answer in answers)
        return {
            "refused": len(refused),
            "s for the slowest refusal": max((answer.seconds for answer in refused), default=begin),
            "with Retry-After": sum(answer.retry_after is not None for answer in refused),
        }


def departed(kind: Kind) -> dict[str, float]:
    """Fifty clients give up while they wait: how many of their requests are computed all the same."""
    with server(kind, ALONE) as running:
        before = int(ask(running.port, "count").body)
        together(running.port, ["sleep 0.1"] * 50, timeout=0.5)
        after = ask(running.port, "count", timeout=60)
        return {"computed of 50": int(after.body) - before - 1, "s until the next answer": after.seconds}


def bad_item(kind: Kind) -> dict[str, float]:
    """One bad request in a batch of eight: how many of the good ones fail."""
    with server(kind, BATCHES) as running:
        answers = together(running.port, ["good"] * 4 + ["bad"] + ["good"] * 3)
        return {"good ones lost of 7": 7 - sum(answer.status == 200 for answer in answers)}


def pipelined(kind: Kind, count: int = 200) -> dict[str, float]:
    """Many requests in one piece, with delays at random: answers that are not those in turn."""
    chance = random.Random(0)
    bodies = [f"sleep {chance.uniform(0, 0.02):.4f} {number}" for number in range(count)]
    head = f"POST /predictions/{MODEL} HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with server(kind, FIVE, job_queue_size="1000") as running:
        all_ready(running, 5)
        with socket.create_connection(("127.0.0.1", running.port), timeout=NEVER) as sock:
            sock.sendall("".join(head % (len(body), body) for body in bodies).encode())
            stream = sock.makefile("rb")
            got = [_next_body(stream) for _ in bodies]
    return {f"out of turn of {count}": sum(one != other for one, other in zip(got, bodies, strict=True))}


def _next_body(stream: BinaryIO) -> str:
    length = 0
    while (line := stream.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    body: bytes = stream.read(length)
    return body.decode()


Trial = Callable[[Kind], dict[str, float]]
#: (row, trial, what the best would get), in the order of the scorecard.
TRIALS: tuple[tuple[str, Trial, str], ...] = (
    ("kill -9 of a worker under load, 5 times", kills, "0 lost; ≤ 0.3 s"),
    ("SIGTERM with 5 requests running", end, "5 answered"),
    ("unregister with 10 requests in hand", unregister, "0 unanswered"),
    ("250 requests for a queue of 100", overload, "refused in ≤ 0.04 s, all with Retry-After"),
    ("50 clients give up while they wait", departed, "≤ 2 %: those that run"),
    ("one bad request in a batch of 8", bad_item, "0 lost"),
    ("200 pipelined requests, delays at random", pipelined, "0 out of turn"),
)
