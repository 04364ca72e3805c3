"""What a worker's process may do, as its kernel tells it."""

from __future__ import annotations

from pathlib import Path

from servebench.scorecard import Figures
from servebench.servers import TORCHKEEPER, Kind
from servebench.trials.house import ready_workers, server


def privileges(kind: Kind) -> Figures:
    """The privileges of a worker that knows nothing of the server, where a server has such workers."""
    settings = {"sandbox": "strict"} if kind is TORCHKEEPER else {}
    with server(kind, **settings) as running:
        (worker,) = ready_workers(running)
        return told(Path("/proc", str(worker)))


def told(process: Path) -> Figures:
    """Capabilities, whether new privileges are barred and system calls filtered, and variables, by /proc."""
    lines = (process / "status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "capabilities": float(int(status["CapEff"], 16).bit_count()),
        "barred from new ones": float(status["NoNewPrivs"]),
        "filtered": float(status["Seccomp"] == "2"),
        "variables": float(len((process / "environ").read_bytes().split(b"\0")) - 1),
    }
