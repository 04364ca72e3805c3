"""The in-process limit: as many pinned processes as cores, each running the handler alone at the same time.

Owns those processes; what they do is `bench/in_process.py`'s.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from servebench.errors import BenchError
from servebench.paths import BENCH


def in_process_limit(archive: Path, pictures: Path, batch: int, seconds: float, python: Path) -> float:
    """Images per second that all cores together reach with decode + model, without a server."""
    cores = sorted(os.sched_getaffinity(0))
    command = [str(python), str(BENCH / "in_process.py"), "--archive", str(archive)]
    command += ["--pictures", str(pictures), "--batch", str(batch), "--seconds", str(seconds)]
    children = [
        subprocess.Popen(
            [*command, "--core", str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for core in cores
    ]
    try:
        return sum(_together(children))
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _together(children: list[subprocess.Popen[str]]) -> list[float]:
    """Waits until all have warmed up, lets them run at once, and gathers their rates."""
    for child in children:
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            assert child.stderr is not None
            last = child.stderr.read().strip().splitlines()[-1:] or ["no output"]
            raise BenchError(f"the in-process limit failed: {last[0]}")
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return [float(child.stdout.readline()) for child in children if child.stdout is not None]
