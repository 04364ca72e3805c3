"""Workers and servers that end, hang or cannot load: what it costs those who have asked."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from servebench.asking import CUT, SILENCE, Answer, ask
from servebench.scorecard import Figures
from servebench.servers import Kind, Running
from servebench.trials.house import (
    ALONE,
    FIVE,
    HASTY,
    MODEL,
    TWO,
    all_ready,
    manage,
    ready_workers,
    server,
    until,
)

#: Seconds after which a model that does not load any more counts as one that never answers.
DEAD = 10.0
#: Seconds after which one that could load again counts as one that does not.
HEALED = 30.0


class Clients:
    """So many clients, each of which asks for the next thing as soon as it has an answer, and checks it."""

    def __init__(self, running: Running, count: int) -> None:
        self._running = running
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(count)
        self._count = count
        #: (when it was asked, seconds, whether the answer was right)
        self.asked: list[tuple[float, float, bool]] = []

    def __enter__(self) -> Clients:
        for number in range(self._count):
            self._threads.submit(self._client, number)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()

    def _client(self, number: int) -> None:
        for turn in itertools.count():
            if self._over.is_set():
                return
            body, begin = f"sleep 0.02 {number} {turn}", time.monotonic()
            answer = ask(self._running.port, body)
            self.asked.append((begin, answer.seconds, (answer.status, answer.body) == (200, body)))

    @property
    def lost(self) -> int:
        """Requests without their right answer."""
        return sum(not right for _, _, right in self.asked)

    def seconds(self, begin: float, end: float) -> list[float]:
        """What those took that were asked in that time."""
        return [seconds for moment, seconds, _ in self.asked if begin <= moment < end]


def kills(kind: Kind, times: int = 5) -> Figures:
    """kill -9 of one of two workers under load: requests lost per kill, seconds until two serve again."""
    took = []
    with server(kind, TWO) as running:
        with Clients(running, 8) as clients:
            for _ in range(times):
                time.sleep(1.0)
                victim = min(all_ready(running, 2))
                os.kill(victim, signal.SIGKILL)
                took.append(until(lambda gone=victim: _replaced(running, gone, 2)))
    return {"lost per kill": clients.lost / times, "s to full capacity": sorted(took)[len(took) // 2]}


def _replaced(running: Running, gone: int, count: int) -> bool:
    found = ready_workers(running)
    return gone not in found and len(found) >= count


def queued(kind: Kind) -> Figures:
    """kill -9 of the only worker while twenty requests wait: how many are answered, and when the last one is.

    Each takes 10 ms, which is not counted. What runs when the worker is killed takes no time any more then,
    whether it is computed again or not.
    """
    with server(kind) as running, ThreadPoolExecutor(21) as threads:
        hold = running.folder / "hold"
        hold.touch()
        threads.submit(ask, running.port, "hold")
        time.sleep(0.3)
        asked = [threads.submit(ask, running.port, f"sleep 0.01 {number}") for number in range(20)]
        time.sleep(0.3)
        victim, begin = min(ready_workers(running)), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        hold.unlink()
        answered = _right([f"sleep 0.01 {number}" for number in range(20)], asked)
        seconds = time.monotonic() - begin - 20 * 0.01
    return {"answered of 20": answered, "s until the last one": seconds}


def _right(bodies: list[str], asked: list[Future[Answer]]) -> int:
    answers = [one.result() for one in asked]
    pairs = zip(bodies, answers, strict=True)
    return sum((answer.status, answer.body) == (200, body) for body, answer in pairs)


def end(kind: Kind) -> Figures:
    """SIGTERM while five requests run: how many of them are answered."""
    with server(kind, FIVE) as running:
        with ThreadPoolExecutor(5) as threads:
            asked = [threads.submit(ask, running.port, "sleep 1.5") for _ in range(5)]
            time.sleep(0.7)
            os.kill(running.front, signal.SIGTERM)
            answers = [one.result() for one in asked]
        return {"answered of 5": sum(answer.status == 200 for answer in answers)}


def unregister(kind: Kind) -> Figures:
    """A model is unregistered while ten requests run or wait: how many are never answered."""
    with server(kind) as running, ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(ask, running.port, "sleep 0.3", DEAD) for _ in range(10)]
        time.sleep(0.5)
        manage(running, "DELETE", f"/models/{MODEL}")
        return {"unanswered of 10": sum(one.result().status in (SILENCE, CUT) for one in asked)}


def dead(kind: Kind) -> Figures:
    """A worker is killed whose model cannot be loaded any more, then can: seconds until a client hears of it,
    and until the model serves again.
    """
    with server(kind, ALONE) as running:
        at_load = running.folder / "at-load"
        at_load.write_text("fail")
        os.kill(min(ready_workers(running)), signal.SIGKILL)
        time.sleep(3.0)  # it has been tried more than once
        answer = ask(running.port, "x", DEAD)
        at_load.unlink()
        heals = until(lambda: ask(running.port, "x", DEAD).status == 200, HEALED, pause=0.05)
        return {
            "s until the answer": answer.seconds,
            "with Retry-After": float(answer.retry_after is not None),
            "s until it serves again": heals,
        }


def hang(kind: Kind) -> Figures:
    """A handler hangs: seconds beyond the response timeout until its answer, then until another serves."""
    with server(kind, HASTY) as running:
        answer = ask(running.port, "sleep 1000")
        again = until(lambda: ask(running.port, "x").status == 200)
        return {
            "s beyond the timeout": answer.seconds - (HASTY.response or 0),
            "s until another serves": again,
        }
