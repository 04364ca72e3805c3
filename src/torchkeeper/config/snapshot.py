"""Snapshots: the configuration and the models of a running server, as files that a later start reads.

Owns their names and the folder they lie in; knows nothing of running models. One is a .properties file like
any other whose key `model_snapshot` holds the models as JSON. Source of names: TorchServe 0.12's snapshots.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.config.model_snapshot import ModelSnapshot, VersionSnapshot, format_model_snapshot
from torchkeeper.config.properties import java_date, write_properties
from torchkeeper.config.table import BY_NAME

logger = logging.getLogger(__name__)

SnapshotKind = Literal["startup", "snapshot", "shutdown"]
_NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg")
#: What a folder says that will not take files later either.
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM)


class Kept(Protocol):
    """What a snapshot takes from the settings."""

    @property
    def texts(self) -> Mapping[str, str]:
        """Key -> text, for every key that is not at its default."""

    @property
    def config_snapshots(self) -> bool:
        """Whether snapshots are wanted at all (no `--ncs`)."""

    @property
    def config_file(self) -> Path | None:
        """Where the configuration came from."""


def snapshot_folder(log_location: Path) -> Path:
    """Where a server's snapshots lie."""
    return log_location / "config"


def newest_snapshot(folder: Path) -> Path | None:
    """The snapshot that was written last: its name begins with the time, and other files do not count."""
    try:
        names = [entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return folder / max(names) if names else None


class Snapshots:
    """The snapshots of one server, in one folder."""

    def __init__(self, folder: Path, now: Callable[[], datetime] = datetime.now) -> None:
        self._folder = folder
        self._now = now
        #: Whether the folder turned out to be none that files can be made in; said once, then left alone.
        self._barred = False

    def save(self, kind: SnapshotKind, settings: Kept, versions: Iterable[VersionSnapshot]) -> Path | None:
        """Writes a snapshot, whole or not at all; returns its path, None when none is wanted.

        A disk that fails is an error in the log and not the server's end; where nothing may be written, as in
        a read-only container, one warning ends the attempts. It waits for the disk, so it is not for the
        event loop.
        """
        if not settings.config_snapshots or self._barred:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            moment = self._next_moment()
            path = self._folder / f"{_stamp(moment)}-{kind}.cfg"
            models = ModelSnapshot(path.name, int(moment.timestamp() * 1000), tuple(versions))
            # What holds a secret is for its owner's eyes only.
            secret = any(BY_NAME[name].secret for name in settings.texts)
            _write_whole(path, snapshot_text(settings, models, moment), 0o600 if secret else 0o644)
        except OSError as error:
            if error.errno in _BARRED:
                self._barred = True
                logger.warning("No snapshots are kept in %s: %s", self._folder, error.strerror)
                return None
            logger.error("the snapshot cannot be written to %s: %s", self._folder, error)
            return None
        return path

    def _next_moment(self) -> datetime:
        """Now, but after every snapshot that is there: the newest name must be the newest snapshot."""
        moment = self._now()
        last = newest_snapshot(self._folder)
        if last is not None and last.name[:17] >= _stamp(moment):
            moment = datetime.strptime(last.name[:17] + "000", "%Y%m%d%H%M%S%f") + timedelta(milliseconds=1)
        return moment


def snapshot_text(settings: Kept, models: ModelSnapshot, moment: datetime) -> str:
    """A snapshot file: the configuration, with the models in the key `model_snapshot`."""
    values = dict(settings.texts)
    values["version"] = TORCHSERVE_VERSION
    if settings.config_file is not None:
        values["tsConfigFile"] = str(settings.config_file)
    values["model_snapshot"] = format_model_snapshot(models)
    return write_properties(values, ("Saving snapshot", java_date(moment.astimezone())))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 1000:03}"


def _write_whole(path: Path, text: str, mode: int) -> None:
    """Writes beside the file's place and moves it there: whoever reads it finds all of it."""
    handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as out:
            os.fchmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
