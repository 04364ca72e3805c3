"""How long `/ping` takes while models load: torchkeeper alone, no comparison.

Registers twenty models at once over the management API and asks `/ping` every few milliseconds meanwhile, and
once before on the idle server. Saves the table as bench/results/<date>-loading.md.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console

from servebench import tables
from servebench.errors import BenchError
from servebench.inputs import Variant, build_archive
from servebench.machine import machine, versions
from servebench.paths import MNIST, OURS, RESULTS
from servebench.servers import TORCHKEEPER, Question, serving

MODELS = 20
PAUSE = 0.005
HEAD = ("while", "pings", "p50 ms", "p99 ms", "slowest ms", "seconds")


def ask(connection: http.client.HTTPConnection, method: str, path: str) -> int:
    """One request on a kept connection; returns the status."""
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def pings(port: int, until: threading.Event) -> list[float]:
    """Milliseconds that `/ping` took, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    found = []
    while not until.is_set():
        begin = time.perf_counter()
        if ask(connection, "GET", "/ping") != 200:
            raise BenchError("/ping did not answer 200")
        found.append((time.perf_counter() - begin) * 1000)
        time.sleep(PAUSE)
    connection.close()
    return found


def load(port: int, number: int, statuses: list[int]) -> None:
    """Registers one model and waits until it serves."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    path = f"/models?url=mnist.mar&model_name=m{number}&initial_workers=1&synchronous=true"
    statuses.append(ask(connection, "POST", path))
    connection.close()


def row(what: str, found: list[float], seconds: float) -> tuple[str, ...]:
    """One line of the table."""
    ordered = sorted(found)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    figures = (statistics.median(ordered), p99, ordered[-1])
    return (what, str(len(found)), *(f"{figure:.1f}" for figure in figures), f"{seconds:.1f}")


def measure() -> list[tuple[str, ...]]:
    """Idle, then while twenty models load."""
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        store = Path(name)
        build_archive(Variant("mnist"), TORCHKEEPER.archiver, store)
        digit = Question("/predictions/first", (MNIST / "test_data" / "0.png").read_bytes(), b"0")
        with serving(TORCHKEEPER, store, {"first": "mnist.mar"}, False, digit) as server:
            idle_over = threading.Event()
            threading.Timer(3.0, idle_over.set).start()
            rows = [row("idle", pings(server.port, idle_over), 3.0)]
            statuses: list[int] = []
            loads = [
                threading.Thread(target=load, args=(server.management_port, number, statuses))
                for number in range(MODELS)
            ]
            over = threading.Event()
            begin = time.perf_counter()

            def start_and_wait() -> None:
                for thread in loads:
                    thread.start()
                for thread in loads:
                    thread.join()
                over.set()

            threading.Thread(target=start_and_wait).start()
            found = pings(server.port, over)
            rows.append(row(f"{MODELS} models load", found, time.perf_counter() - begin))
    if statuses != [200] * MODELS:
        raise BenchError(f"registering answered {sorted(set(statuses))}")
    return rows


def main() -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/loading.py", description=__doc__)
    parser.parse_args()
    try:
        rows = measure()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    text = "\n".join(
        (
            f"# /ping while {MODELS} models load, {date}\n",
            "`bench/loading.py`. The client and the twenty requests run on the same cores as the server.\n",
            tables.markdown(HEAD, rows),
            "## Machine and versions\n",
            tables.markdown(("what", "value"), [*machine(), *versions({"torchkeeper": OURS})]),
        )
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{date}-loading.md").write_text(text)
    Console().print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
