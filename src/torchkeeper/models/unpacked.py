"""Where the archives of models are unpacked: a folder of the server's own, and in it one for each version.

What cannot be removed (no descriptor is left, or the disk fails) is tried again whenever something else is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from torchkeeper.archive.store import remove_file
from torchkeeper.archive.unpack import part_of

logger = logging.getLogger(__name__)


class Unpacked:
    """The folder of one server."""

    def __init__(self, parent: Path, *, passable: bool = False) -> None:
        """Makes it in the folder `parent`; `passable`: others find their way, if they know it."""
        self._folder = Path(tempfile.mkdtemp(prefix="torchkeeper-models-", dir=parent))
        if passable:
            self._folder.chmod(0o711)
        self._unwanted: set[Path] = set()

    def new(self) -> Path:
        """A place for an archive, where nothing is yet."""
        return self._folder / uuid.uuid4().hex

    def remove(self, *paths: Path) -> None:
        """Removes places, what is half unpacked included, and files that lie elsewhere; blocks."""
        for path in paths:
            if path.parent == self._folder:
                self._unwanted.update((path, part_of(path)))
            else:
                remove_file(path)
        for path in tuple(self._unwanted):
            if _removed(path):
                self._unwanted.discard(path)

    def close(self) -> None:
        """Removes all of it, but for what cannot be removed; blocks."""
        with contextlib.suppress(OSError):
            self._unwanted.update(self._folder.iterdir())
        self.remove()
        if not _removed(self._folder):
            logger.warning("%s is not needed any more, but not all of it can be removed", self._folder)


def _removed(folder: Path) -> bool:
    """Removes what can be removed of a folder; whether it is gone."""
    with contextlib.suppress(RecursionError):  # folders deeper than Python below 3.13 goes
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.lstat(folder)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False
