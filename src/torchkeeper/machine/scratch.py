"""Folders for a while. Their names are not drawn from `tempfile`, whose state so tells of others' alone."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def new_folder(prefix: str, where: Path | None = None) -> Path:
    """A new folder that this user alone can use; by default where temporary files lie.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(where or tempfile.gettempdir(), f"{prefix}{secrets.token_hex(8)}")
    folder.mkdir(mode=0o700)
    return folder


@contextlib.contextmanager
def folder_for_a_while(prefix: str) -> Iterator[Path]:
    """Such a folder, which is removed with all that lies there.

    Raises:
        OSError: it cannot be made.
    """
    folder = new_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
