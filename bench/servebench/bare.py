"""uvicorn with an application that only echoes (bare_app.py): what HTTP and asyncio alone cost in Python."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from servebench.paths import BENCH, CACHE

VENV = CACHE / "uvicorn"
#: The versions of uvloop and httptools are ours.
PACKAGES = ("uvicorn==0.54.0", f"uvloop=={version('uvloop')}", f"httptools=={version('httptools')}")
NAME = "uvicorn, bare"


def prepare() -> None:
    """Makes its environment if it is not there."""
    mark = VENV / ".complete"
    wanted = "\n".join(PACKAGES)
    if mark.exists() and mark.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([VENV / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
    mark.write_text(wanted)


@contextmanager
def running(before: Sequence[str | Path] = ()) -> Iterator[tuple[int, int]]:
    """Port and process of one that takes connections; `before`: what its command begins with."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    command = [*before, VENV / "bin" / "python", "-m", "uvicorn", "bare_app:echo", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    command += ["--lifespan", "off", "--app-dir", BENCH]
    process = subprocess.Popen(command)
    try:
        for _ in range(3000):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
