"""How often the kernel has ended a process of this one's group for want of memory (Linux)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_OURS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def oom_kills(ours: Path = _OURS, mounted: Path = _MOUNTED) -> int | None:
    """The count of the group's memory controller, of either version; None where there is none to be read."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for file in _files(controllers.split(","), path.lstrip("/"), mounted):
            if (count := _count(file)) is not None:
                return count
    return None


def _files(controllers: list[str], path: str, mounted: Path) -> tuple[Path, ...]:
    """Where the count may stand; in a container the group itself is what is mounted."""
    if "memory" in controllers:
        return tuple(mounted / "memory" / one / "memory.oom_control" for one in (path, ""))
    if controllers == [""]:
        roots = (mounted, mounted / "unified")
        return tuple(root / one / "memory.events" for root in roots for one in (path, ""))
    return ()


def _count(file: Path) -> int | None:
    try:
        found = dict(line.split(" ", 1) for line in file.read_text().splitlines() if " " in line)
        return int(found["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None


class OomWatch:
    """Tells which of several ends was one for want of memory: each count is told once."""

    def __init__(self, read: Callable[[], int | None] = oom_kills) -> None:
        self._read = read
        self._told = 0

    def now(self) -> int | None:
        """The count; None: nobody knows."""
        return self._read()

    def claim(self, since: int | None) -> bool | None:
        """Whether the process that has just been killed was killed for it; `since` is the count at its start.

        None: nobody knows.
        """
        now = self._read()
        if now is None or since is None:
            return None
        if now <= max(since, self._told):
            return False
        self._told = max(since, self._told) + 1
        return True
