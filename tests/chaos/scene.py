"""What the tests of faults share: how long they play, a server to play with, and what must not grow in it."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
from faults import Target  # type: ignore[import-not-found]

from servers import SECONDS_TO_START, Server, eventually, make_archive
from workers import light_environ

SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
#: Whether there is time for the long forms.
LONG = SECONDS >= 300

ECHO = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.02)
    return [bytes(row["body"] if "body" in row else row["data"]).decode() for row in data]
"""
CONFIG = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nresponseTimeout: 20\n"


def server_of(
    folder: Path,
    source: str = ECHO,
    config: str = CONFIG,
    *,
    prefix: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
    flags: tuple[str, ...] = ("--disable-token-auth",),
    path: tuple[Path, ...] = (),
    kept: Path | None = None,
) -> Server:
    """A server with the model echo and the archive of another one; its workers share nothing that is slow.

    `kept` is where the archives are put, if not in the model store.
    """
    store = kept or folder / "model_store"
    store.mkdir()
    make_archive(store, "echo", source, config=config)
    make_archive(store, "other", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    modules = (*map(str, path), light_environ(folder / "stubs")["PYTHONPATH"])
    server = Server(
        folder,
        ("echo=echo-1.0.mar",),
        {"enable_model_api": "true", "job_queue_size": 1000},
        flags,
        prefix=prefix,
        environ={"PYTHONPATH": os.pathsep.join(modules), **(environ or {})},
    )
    eventually(lambda: server.client.get("/v2/health/ready").status_code == 200)
    return server


def target_of(server: Server, seed: int = 0) -> Target:
    """The server as faults see it."""
    return Target(
        server.process.pid,
        server.port,
        server.grpc,
        str(server.manage.base_url),
        "echo",
        "other-1.0.mar",
        random.Random(seed),
    )


def calm(server: Server) -> dict[str, object]:
    """What the server is like once nothing changes any more: clients that left are gone then."""
    seen = [state(server)]
    while len(seen) < 4 or any(one != seen[-1] for one in seen[-4:]):
        time.sleep(0.1)
        seen.append(state(server))
        assert len(seen) < 600, seen[-2:]
    return seen[-1]


def settle(server: Server, before: dict[str, object]) -> None:
    """Returns once the server is as before; says in what it differs if it never is."""
    deadline = time.monotonic() + SECONDS_TO_START
    while (now := state(server)) != before:
        differs = {what: (before[what], now[what]) for what in before if now[what] != before[what]}
        assert time.monotonic() < deadline, f"was and is: {differs}"
        time.sleep(0.02)


def _descriptors(process: psutil.Process) -> Counter[str]:
    """How many descriptors a process has, by what they are.

    Log files are opened with their first line, and the event loop's reserve is one of two. Connections are
    left out, for clients come and go, and so are the handles of workers: those that import for others have
    more.
    """
    found: Counter[str] = Counter()
    for entry in os.scandir(f"/proc/{process.pid}/fd"):
        with suppress(FileNotFoundError):
            what = os.readlink(entry)
            if not what.endswith(".log"):
                found["/dev/null" if what == "/" else re.sub(r":\[\d+\]", "", what)] += 1
    found["socket"] -= sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp"))
    del found["anon_inode:[pidfd]"]
    return found


def state(server: Server) -> dict[str, object]:
    """What must not grow: descriptors, threads, processes, files that the server has made, shared memory."""
    process = psutil.Process(server.process.pid)
    unpacked = list(server.temp.glob("torchkeeper-models-*/*"))
    return {
        "descriptors": _descriptors(process),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
        "temp": sorted(path.name.split("-")[0] for path in server.temp.iterdir()),
        "unpacked": len(unpacked),
        "store": sorted(path.name for path in (server.folder / "model_store").iterdir()),
    }


def private(place: str | Path, size: str) -> tuple[str, ...] | None:
    """The command that gives a program a small disk of its own at a folder; None where it may not be had."""
    mount = f'mount -t tmpfs -o size={size},mode=1777 tmpfs "{place}" && exec "$@"'
    for unshare in (("unshare", "-m"), ("unshare", "-rm")):
        command = (*unshare, "sh", "-c", mount, "sh")
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True).returncode == 0
        ):
            return command
    return None
