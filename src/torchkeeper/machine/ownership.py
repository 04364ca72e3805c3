"""Whose files are: folders handed over from root to another user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


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
