"""More clients, or slower ones, than a server can serve: what becomes of them and of the others."""

from __future__ import annotations

import contextlib
import itertools
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from servebench.asking import NEVER, Answer, ask, at_rate, burst, percentile, together
from servebench.scorecard import Figures
from servebench.servers import Kind, Running
from servebench.trials.deaths import Clients
from servebench.trials.house import BATCHES, FIVE, MODEL, all_ready, resident, server

#: Of an open loop: seconds, seconds of work per request, and how long clients wait who do not wait for ever.
SECONDS, WORK, SHORT = 6.0, 0.02, 1.0
#: Seconds in which slow connections must have been closed.
SLOW = 35.0


def overload(kind: Kind) -> Figures:
    """250 requests at once for a queue of 100: the slowest refusal, and whether refusals say when to come."""
    with server(kind, job_queue_size="100") as running:
        answers = burst(running.port, [f"sleep 0.05 {number}" for number in range(250)])
        refused = [answer for answer in answers if answer.status == 503]
        return {
            "refused": len(refused),
            "s for the slowest refusal": max((answer.seconds for answer in refused), default=NEVER),
            "without Retry-After": sum(answer.retry_after is None for answer in refused),
        }


def _bodies() -> Iterator[str]:
    return (f"sleep {WORK} {number}" for number in itertools.count())


def good(answers: list[Answer]) -> int:
    """Right answers that came while requests did: those who wait at the end are no measure."""
    first = min(answer.begun for answer in answers)
    return sum(
        answer.status == 200 and answer.begun + answer.seconds <= first + SECONDS for answer in answers
    )


def goodput(kind: Kind) -> Figures:
    """Three times as many requests as one worker can take: right answers per second, as a share of those of
    as many clients as it can take. First clients wait for ever, then a second, as they say.
    """
    with server(kind) as running:
        with Clients(running, 4) as clients:
            begin = time.monotonic()
            time.sleep(4.0)
            capacity = len(clients.seconds(begin, begin + 4.0)) / 4.0
        waits = at_rate(running.port, _bodies(), 3 * capacity, SECONDS)
        says = {"x-envoy-expected-rq-timeout-ms": f"{SHORT * 1000:g}"}
        leaves = at_rate(running.port, _bodies(), 3 * capacity, SECONDS, SHORT, says)
    return {
        "% of capacity": 100 * good(waits) / SECONDS / capacity,
        "% where clients leave after 1 s": 100 * good(leaves) / SECONDS / capacity,
    }


def departed(kind: Kind) -> Figures:
    """Fifty clients give up while they wait: how many of their requests are computed for nobody."""
    with server(kind) as running:
        before = int(ask(running.port, "count").body)
        answers = at_rate(running.port, itertools.repeat("sleep 0.1"), 10_000, 0.005, patience=0.55)
        after = ask(running.port, "count", timeout=60)
        answered = sum(answer.status == 200 for answer in answers)
        for_nobody = int(after.body) - before - 1 - answered
        return {"computed for nobody of 50": for_nobody, "s until the next answer": after.seconds}


def bad_item(kind: Kind) -> Figures:
    """One bad request in a batch of eight: how many of the good ones fail."""
    with server(kind, BATCHES) as running:
        answers = together(running.port, ["good"] * 4 + ["bad"] + ["good"] * 3)
        return {"good ones lost of 7": 7 - sum(answer.status == 200 for answer in answers)}


def pipelined(kind: Kind, count: int = 200) -> Figures:
    """Many requests in one piece, with delays at random: answers that are not those in turn."""
    chance = random.Random(0)
    bodies = [f"sleep {chance.uniform(0, 0.02):.4f} {number}" for number in range(count)]
    head = f"POST /predictions/{MODEL} HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with server(kind, FIVE, job_queue_size="1000") as running:
        all_ready(running, 5)
        with socket.create_connection(("127.0.0.1", running.port), timeout=NEVER) as sock:
            sock.sendall("".join(head % (len(body), body) for body in bodies).encode())
            stream = sock.makefile("rb")
            got = []
            with contextlib.suppress(OSError, ValueError):  # those that never come are not in turn
                for _ in bodies:
                    got.append(_next_body(stream))
    in_turn = sum(one == other for one, other in zip(got, bodies, strict=False))
    return {f"out of turn of {count}": count - in_turn}


def _next_body(stream: BinaryIO) -> str:
    length = 0
    while (line := stream.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    body: bytes = stream.read(length)
    return body.decode()


def slow(kind: Kind) -> Figures:
    """300 connections on which a request comes a byte a second, half of them in its header: how many the
    server closes in time; and what others wait meanwhile, beside what they wait without them.
    """
    head = f"POST /predictions/{MODEL} HTTP/1.1\r\nHost: x\r\n".encode()
    body = head + b"Content-Length: 100000\r\n\r\n"
    with server(kind) as running, Clients(running, 2) as clients:
        begin = time.monotonic()
        time.sleep(4.0)
        middle = time.monotonic()
        found = closed(running.port, [(head, body)[number % 2] for number in range(300)], SLOW)
        close = time.monotonic()
        base = percentile(clients.seconds(begin, middle), 0.99)
        others = percentile(clients.seconds(middle, close), 0.99)
    return {
        f"closed of 300 in {SLOW:g} s": len(found),
        "s until the last one": max(found, default=SLOW),
        "p99 of others / base": others / base,
    }


def closed(port: int, beginnings: list[bytes], limit: float) -> list[float]:
    """Sends each on a connection of its own, then a byte a second; when the server closed each of them."""
    with contextlib.ExitStack() as stack:
        begin = time.monotonic()
        waiting = {}
        for data in beginnings:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=NEVER))
            sock.sendall(data)
            waiting[sock.fileno()] = sock
        seconds: list[float] = []
        watch, due = select.poll(), begin + 1.0
        for number in waiting:
            watch.register(number, select.POLLIN)
        while waiting and time.monotonic() - begin < limit:
            for number, _ in watch.poll(100):
                if _ended(waiting[number]):
                    watch.unregister(number)
                    del waiting[number]
                    seconds.append(time.monotonic() - begin)
            if time.monotonic() > due:
                due += 1.0
                for sock in waiting.values():
                    with contextlib.suppress(OSError):
                        sock.send(b"a")
        return seconds


def _ended(sock: socket.socket) -> bool:
    """Whether the other side has closed it, after whatever it had to say."""
    try:
        return not sock.recv(1 << 16)
    except OSError:
        return True


def chunks(kind: Kind) -> Figures:
    """A hundred bodies of a million chunks each: how much more memory the server holds afterwards."""
    head = f"POST /predictions/{MODEL} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with server(kind) as running:
        _send_chunks(running, head, 100, 100_000)  # the allocator takes what it keeps
        before = resident(running.front)
        _send_chunks(running, head, 100, 1_000_000)
        return {"MB more": (resident(running.front) - before) / 1e6}


def _send_chunks(running: Running, head: bytes, times: int, count: int) -> None:
    data = head + b"1\r\na\r\n" * count
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", running.port), timeout=NEVER) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
            while not _ended(sock):
                pass


def pings(port: int, over: threading.Event, timeout: float) -> list[float]:
    """Seconds that health checks take, one every 20 ms, until it is over."""
    took = []
    while not over.is_set():
        took.append(ask(port, "", timeout, "/ping", "GET").seconds)
        time.sleep(0.02)
    return took
