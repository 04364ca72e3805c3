"""What the front's memory grows by, per 10,000 requests and 100 reloads; a leak that is planted is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from leaks import slope  # type: ignore[import-not-found]
from load import Load  # type: ignore[import-not-found]
from scene import LONG, calm, server_of, settle  # type: ignore[import-not-found]

from servers import Server

pytestmark = pytest.mark.slow

#: Requests and reloads of a measurement, after so many that fill pools and caches, and looks at the memory.
REQUESTS, RELOADS = (20_000, 200) if LONG else (3_000, 32)
LOOKS = 12
#: Bytes per request and per reload that are no leak but the allocator's business.
PER_REQUEST, PER_RELOAD = 300.0, 60_000.0
#: What keeps so many bytes of each request, in the front.
KEPT = 2_000
PLANTED = f"""
import sys

if any(part.endswith("torchserve") for part in sys.orig_argv):
    from torchkeeper.serving import books

    kept, close = [], books.Record.close

    def leaks(self, *arguments, **named):
        kept.append(bytes({KEPT}))
        return close(self, *arguments, **named)

    books.Record.close = leaks
"""
FAST = "def handle(data, context):\n    return None if data is None else [row['body'] for row in data]\n"


def growth(server: Server, total: int, do: Callable[[int], None]) -> float:
    """Bytes by which the front grows per unit of what is done, `total` times after a third as often."""
    front = psutil.Process(server.process.pid)
    do(total // 3)
    samples: list[tuple[float, float]] = []
    for look in range(LOOKS + 1):
        samples.append((look * total / LOOKS, front.memory_info().rss))
        do(total // LOOKS)
    return float(slope(samples))


def requests(server: Server) -> Callable[[int], None]:
    """Asks so often."""

    async def ask(count: int) -> None:
        async with Load(server.port, "echo", 4) as load:
            while sum(load.outcomes.statuses.values()) < count:
                await asyncio.sleep(0.005)
        assert load.outcomes.lost == 0, str(load.outcomes)

    return lambda count: asyncio.run(ask(count))


def reloads(server: Server) -> Callable[[int], None]:
    """Registers another model and unregisters it, so often."""

    def reload(count: int) -> None:
        for _ in range(count):
            query = {"url": "other-1.0.mar", "initial_workers": 1, "synchronous": "true"}
            server.manage.post("/models", params=query).raise_for_status()
            server.manage.delete("/models/other").raise_for_status()

    return reload


def test_memory_does_not_grow(tmp_path: Path) -> None:
    server = server_of(tmp_path, FAST)
    per_request = growth(server, REQUESTS, requests(server))
    before = calm(server)
    per_reload = growth(server, RELOADS, reloads(server))
    print(
        f"\nthe front grows by {per_request * 10_000 / 1e6:+.2f} MB per 10,000 requests"
        f" and {per_reload * 100 / 1e6:+.2f} MB per 100 reloads"
    )
    assert per_request < PER_REQUEST
    assert per_reload < PER_RELOAD
    settle(server, before)
    server.stop()


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(PLANTED)
    server = server_of(tmp_path, FAST, path=(planted,))
    assert growth(server, 900, requests(server)) > max(PER_REQUEST, KEPT / 2)
    server.stop()


def test_a_slope_is_not_led_astray() -> None:
    grows = [(float(x), 5.0 * x + (10_000 if x == 7 else 0)) for x in range(20)]
    assert slope(grows) == pytest.approx(5.0)
    assert slope([(0, 1), (1, 1), (2, 99), (3, 1)]) == 0
