"""The model store: where a name of it leads, and what there is in it.

Whoever can put a link into the store may say where it leads (mounted volumes, shared folders and version
control of data do so); a name that a request or a file gives may not lead out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

#: How the names of archives end.
SUFFIXES = (".mar", ".model", ".tar.gz")
#: And that of a signature, behind its archive's name.
SIGNATURE = ".sig"
#: How the names of downloads begin that have not been checked yet; nobody can ask for them.
QUARANTINE = ".quarantine-"
#: Seconds after which nobody waits for one that has not grown.
_FORGOTTEN = 3600.0


@dataclass(frozen=True)
class Stored:
    """An archive, or a folder that is one, in the store."""

    #: It may be a link to anywhere.
    path: Path
    #: What the store calls it.
    name: str


def find_stored(store: Path, name: str) -> Stored | None:
    """What a name leads to, judged by the name alone; None if there is nothing, or not in the store.

    Source: TorchServe takes a path that is not there, or an absolute one, for its last part.
    """
    path = Path(name)
    if "://" in name or "\0" in name or ".." in path.parts:
        return None
    # An absolute path that names the store itself is one in it.
    inside = path.relative_to(store) if path.is_absolute() and path.is_relative_to(store) else path
    for wanted in (inside, Path(path.name)):
        if not wanted.parts or wanted.is_absolute() or any(map(_quarantined, wanted.parts)):
            continue
        if os.path.exists(store / wanted):
            return Stored(store / wanted, str(wanted))
    return None


def find_at_start(store: Path, name: str) -> Stored | None:
    """What a name leads to that the command line or the configuration gives.

    Source: TorchServe takes the absolute path of a folder for that folder, wherever it lies.
    """
    path = Path(name)
    outside = path.is_absolute() and bool(path.name) and not path.is_relative_to(store)
    if outside and ".." not in path.parts and os.path.isdir(path):
        return Stored(path, str(path))
    return find_stored(store, name)


def stored_names(store: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """The names of all archives and folders in the store, but for hidden ones."""
    return sorted(
        entry.name
        for entry in store.iterdir()
        if not entry.name.startswith(".") and (entry.is_dir() or entry.name.endswith(suffixes))
    )


def sweep_quarantine(store: Path, now: float) -> None:
    """Removes downloads that nobody waits for any more; servers may share a store.

    Whoever may not remove them, or look, leaves them there.
    """
    with contextlib.suppress(OSError):
        for entry in store.iterdir():
            with contextlib.suppress(OSError):
                if _quarantined(entry.name) and now - entry.lstat().st_mtime > _FORGOTTEN:
                    entry.unlink()


def name_of(url: str) -> str:
    """The name of a model whose manifest has none: the file's, without its extension, in word characters.

    Source: TorchServe's rule.
    """
    base = Path(url).name
    if ".mar" in base or ".model" in base:
        base = base.rpartition(".")[0]
    for suffix in SUFFIXES:
        base = base.removesuffix(suffix)
    return re.sub(r"(\W|^_)", "_", base)


def _quarantined(part: str) -> bool:
    return part.startswith(QUARANTINE)


def remove_file(path: Path) -> None:
    """Removes a file; one that cannot be is told of, and keeps nothing else from being done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s is not needed any more, but cannot be removed: %s", path, error.strerror)
