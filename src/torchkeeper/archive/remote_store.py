"""A model store that is a folder of a bucket: which archives it has, and where they are kept meanwhile.

Its archives are fetched when they are asked for, and kept in a folder of this machine as long as the server
lives.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torchkeeper.archive.buckets import CloudObject, folder_of
from torchkeeper.archive.cloud import names_in
from torchkeeper.archive.store import SUFFIXES
from torchkeeper.config.settings import Settings, process_environ


def archives_in(store_url: str) -> list[str]:
    """The names of all archives in the store. Blocks.

    Raises:
        DownloadFailed: the store does not tell.
    """
    names = names_in(store_url, folder_of(store_url), process_environ())
    return [name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]


def in_store(store_url: str, name: str) -> tuple[str, CloudObject]:
    """URL and object of a name of the store."""
    folder = folder_of(store_url)
    key = f"{folder.key}/{name}".lstrip("/")
    return f"{folder.service}://{folder.bucket}/{key}", replace(folder, key=key)


@contextlib.contextmanager
def local_store(settings: Settings) -> Iterator[Settings]:
    """The settings with a folder of this machine for the archives of a store that is not on it."""
    if settings.store_url is None:
        yield settings
        return
    with tempfile.TemporaryDirectory(
        prefix="torchkeeper-store-", dir=settings.temp_dir, ignore_cleanup_errors=True
    ) as folder:
        yield replace(settings, model_store=Path(folder))
