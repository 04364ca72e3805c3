"""Models that come, go and change under load: what the others notice of it."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from servebench.asking import percentile
from servebench.inputs import Variant, build_archive
from servebench.scorecard import Figures
from servebench.servers import Kind, Running
from servebench.trials.crowds import pings
from servebench.trials.deaths import Clients
from servebench.trials.house import MODEL, STORE, TWO, manage, server

SECOND = Variant("trial", batch=1, delay=2, workers=2, version="2.0")
#: Seconds for which downloads hang, and that a slow model takes to load.
HANG, LOAD = 4.0, 4.0
#: Seconds after which a health check counts as not answered.
NO_PING = 10.0
SWAPS = 3


def busy_with_models(kind: Kind) -> Figures:
    """Six downloads that hang, then four models that are slow to load: what health checks take meanwhile."""
    with server(kind, Variant("trial", batch=1, delay=1, workers=1)) as running:
        over = threading.Event()
        with ThreadPoolExecutor(11) as threads, socket.create_server(("127.0.0.1", 0), backlog=64) as origin:
            checks = threads.submit(pings, running.port, over, NO_PING)
            place = f"http://127.0.0.1:{origin.getsockname()[1]}"
            for number in range(6):
                threads.submit(_register, running, f"{place}/{number}.mar", f"far-{number}")
            time.sleep(HANG)
            for _ in range(6):  # whoever has come is sent away
                origin.settimeout(0.5)
                try:
                    origin.accept()[0].close()
                except TimeoutError:
                    break
            origin.close()
            (running.folder / "at-load").write_text(f"sleep {LOAD}")
            for number in range(4):
                threads.submit(_register, running, "trial-batch1-delay1.mar", f"slow-{number}")
            time.sleep(LOAD + 1.0)
            over.set()
            took = checks.result()
    return {"s of a ping, p99": percentile(took, 0.99), "s of the longest": max(took)}


def _register(running: Running, url: str, name: str) -> None:
    query = {"url": url, "model_name": name, "initial_workers": 1, "synchronous": "true"}
    manage(running, "POST", "/models", **query)


def swaps(kind: Kind) -> Figures:
    """Another version is registered, made the default, and the first one unregistered, and back, under load:
    requests lost, and p99 while it is done beside p99 before.
    """
    build_archive(SECOND, kind.archiver, STORE)
    urls = {"1.0": f"{TWO.name}.mar", "2.0": f"{SECOND.name}.mar"}
    with server(kind, TWO) as running:
        with Clients(running, 4) as clients:
            begin = time.monotonic()
            time.sleep(4.0)
            middle = time.monotonic()
            for turn in range(SWAPS):
                old, new = ("1.0", "2.0")[:: 1 if turn % 2 == 0 else -1]
                query = {"url": urls[new], "model_name": MODEL, "initial_workers": 2, "synchronous": "true"}
                manage(running, "POST", "/models", **query)
                manage(running, "PUT", f"/models/{MODEL}/{new}/set-default")
                manage(running, "DELETE", f"/models/{MODEL}/{old}")
            close = time.monotonic()
        base = percentile(clients.seconds(begin, middle), 0.99)
        during = percentile(clients.seconds(middle, close), 0.99)
    return {"lost": clients.lost, "p99 / base": during / base, "s for a swap": (close - middle) / SWAPS}


def scaled(kind: Kind) -> Figures:
    """Two workers become one and two again, ten times, under load: requests lost."""
    with server(kind, TWO) as running:
        with Clients(running, 4) as clients:
            for count in (1, 2) * 10:
                query = {"min_worker": count, "max_worker": count, "synchronous": "true"}
                manage(running, "PUT", f"/models/{MODEL}", **query)
        return {"lost": clients.lost}
