"""The servers that trials are done to, and what all trials ask of them."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from servebench.asking import Answer, ask
from servebench.errors import BenchError
from servebench.inputs import Variant, build_archive
from servebench.paths import CACHE
from servebench.servers import Kind, Question, Running, serving

STORE = CACHE / "store"
MODEL = "trial"
#: Seconds in which a server must get ready for a trial.
PATIENCE = 60.0

ALONE = Variant("trial", batch=1, delay=1, workers=1)
TWO = Variant("trial", batch=1, delay=2, workers=2)
#: A batch of its may take two seconds.
HASTY = Variant("trial", batch=1, delay=1, workers=1, response=2)
FIVE = Variant("trial", batch=1, delay=3, workers=5)
BATCHES = Variant("trial", batch=8, delay=500, workers=1)


@contextlib.contextmanager
def server(kind: Kind, variant: Variant = ALONE, store: Path = STORE, **settings: str) -> Iterator[Running]:
    """The trial's model on a server of that kind; its workers are ready."""
    archive = build_archive(variant, kind.archiver, store)
    right = Question(f"/predictions/{MODEL}", b"ready", b"ready")
    with serving(kind, store, {MODEL: archive.name}, False, right, settings) as running:
        all_ready(running, variant.workers or 1)
        yield running


def manage(running: Running, method: str, path: str, timeout: float = 60.0, **query: object) -> Answer:
    """A call of the management API."""
    return ask(running.management_port, "", timeout, f"{path}?{urlencode(query)}", method)


def until(what: Callable[[], bool], patience: float = PATIENCE, pause: float = 0.005) -> float:
    """Seconds until it was so; infinity if it was not within `patience`."""
    begin = time.monotonic()
    while not what():
        if time.monotonic() - begin > patience:
            return math.inf
        time.sleep(pause)
    return time.monotonic() - begin


def ready_workers(running: Running) -> set[int]:
    """The processes of the workers that serve."""
    workers = json.loads(manage(running, "GET", f"/models/{MODEL}").body)[0]["workers"]
    return {worker["pid"] for worker in workers if worker["status"] == "READY" and worker["pid"] > 0}


def all_ready(running: Running, count: int) -> set[int]:
    """Those processes, once there are so many.

    Raises:
        BenchError: there are fewer after all this time.
    """
    if until(lambda: len(ready_workers(running)) >= count) == math.inf:
        raise BenchError(f"fewer than {count} workers of the trial's model were ready after {PATIENCE:g} s")
    return ready_workers(running)


def resident(pid: int) -> float:
    """Bytes of a process's resident set; 0 if it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * 4096.0


def files(*folders: Path) -> Mapping[Path, int]:
    """All files and folders in these, with their sizes."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                found[path] = path.stat().st_size
    return found


def new_files(before: Mapping[Path, int], after: Mapping[Path, int]) -> Sequence[Path]:
    """Files and folders that came and stayed, logs and what torch keeps of its own apart."""
    return [
        path for path in after if path not in before and not {"logs", "torchinductor_root"} & set(path.parts)
    ]
