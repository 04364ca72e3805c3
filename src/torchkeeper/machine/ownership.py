"""Whose files are: folders handed over from root to another user, and those that one user has alone."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

#: Where Linux shows what a process has open, as paths that go on.
_OPEN = Path("/proc/self/fd")


def give(folder: Path, uid: int, gid: int, check: Callable[[], None] = lambda: None) -> None:
    """Makes a folder and all in it a user's; links are given, and not followed. `check` is called in between.

    Raises:
        OSError: this process may not.
    """
    os.chown(folder, uid, gid)
    for place, folders, files in os.walk(folder):
        check()
        for name in (*folders, *files):
            os.chown(os.path.join(place, name), uid, gid, follow_symlinks=False)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """A folder that this process's user alone can use, made where it is not there.

    Yields a path that leads to that very folder meanwhile, whoever renames what it lies in; where there is
    no /proc, its plain one.

    Raises:
        OSError: it cannot be made or opened, or others have a part in it; says how.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{folder} is user {found.st_uid}'s, not this one's ({os.geteuid()})")
        if (mode := stat.S_IMODE(found.st_mode)) & 0o077:
            raise PermissionError(f"{folder} has mode {mode:04o}, which lets others in: it must be 0700")
        shown = _OPEN / str(opened)
        yield shown if shown.is_dir() else folder
    finally:
        os.close(opened)
