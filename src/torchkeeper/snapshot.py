"""Snapshots: the configuration and the models of a running server, as files that a later start reads.

Owns their names, their text and the folder they lie in; knows nothing of running models. One is a .properties
file like any other whose key `model_snapshot` holds the models as JSON. Source of names, fields and their
order: TorchServe 0.12's snapshots.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.properties import java_date, write_properties

logger = logging.getLogger(__name__)

Kind = Literal["startup", "snapshot", "shutdown"]
_NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg")
#: A snapshot that holds one of these is for its owner's eyes only.
_SECRETS = ("keystore_pass",)
#: What a folder says that will not take files later either.
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class VersionSnapshot:
    """One version of a model as a snapshot keeps it; what an old snapshot lacks has TorchServe's default."""

    name: str
    version: str
    #: The archive's name in the model store.
    mar_name: str
    default_version: bool = True
    min_workers: int = 1
    max_workers: int = 1
    batch_size: int = 1
    #: Milliseconds.
    max_batch_delay: int = 100
    #: Seconds.
    response_timeout: float = 120
    startup_timeout: float = 120
    runtime_type: str = "python"
    parallel_level: int = 0


@dataclass(frozen=True)
class ModelSnapshot:
    """The models of a server at one moment."""

    #: The file's name.
    name: str
    #: Milliseconds since 1970.
    created: int
    versions: tuple[VersionSnapshot, ...]


# --- text ---------------------------------------------------------------------------------------------


def format_model_snapshot(snapshot: ModelSnapshot) -> str:
    """The JSON of the key `model_snapshot`, byte for byte as TorchServe writes it."""
    models: dict[str, dict[str, dict[str, Any]]] = {}
    for version in snapshot.versions:
        fields: dict[str, Any] = {
            "defaultVersion": version.default_version,
            "marName": version.mar_name,
            "minWorkers": version.min_workers,
            "maxWorkers": version.max_workers,
            "batchSize": version.batch_size,
            "maxBatchDelay": version.max_batch_delay,
            "responseTimeout": _shortest(version.response_timeout),
            "startupTimeout": _shortest(version.startup_timeout),
            "runtimeType": version.runtime_type,
        }
        if version.parallel_level:
            fields["parallelLevel"] = version.parallel_level
        models.setdefault(version.name, {})[version.version] = fields
    found = {
        "name": snapshot.name,
        "modelCount": len(snapshot.versions),
        "created": snapshot.created,
        "models": models,
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def parse_model_snapshot(text: str) -> ModelSnapshot | None:
    """The models that the JSON of a `model_snapshot` key names; None for an empty text.

    Raises:
        ValueError: it is no such JSON; the text says what is wrong.
    """
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    models = found.get("models") if isinstance(found, dict) else None
    if not isinstance(models, dict) or not all(isinstance(versions, dict) for versions in models.values()):
        raise ValueError('must be JSON of the form {"models": {"<name>": {"<version>": {...}}}}')
    return ModelSnapshot(
        str(found.get("name", "")),
        int(_number(found, "created", 0, "the snapshot", low=0)),
        tuple(
            _version(name, number, fields)
            for name, versions in models.items()
            for number, fields in versions.items()
        ),
    )


def _version(name: str, number: str, fields: object) -> VersionSnapshot:
    where = f"model {name} version {number}"
    if not isinstance(fields, dict):
        raise ValueError(f"{where} must be an object")
    mar_name = fields.get("marName")
    if not isinstance(mar_name, str) or not mar_name:
        raise ValueError(f"{where} names no marName")
    low = int(_number(fields, "minWorkers", 1, where, low=0))
    return VersionSnapshot(
        name,
        number,
        mar_name,
        default_version=str(fields.get("defaultVersion", True)).lower() == "true",
        min_workers=low,
        max_workers=int(_number(fields, "maxWorkers", low, where, low=0)),
        batch_size=int(_number(fields, "batchSize", 1, where, low=1)),
        max_batch_delay=int(_number(fields, "maxBatchDelay", 100, where, low=0)),
        response_timeout=_number(fields, "responseTimeout", 120, where, low=0),
        startup_timeout=_number(fields, "startupTimeout", 120, where, low=0),
        runtime_type=str(fields.get("runtimeType") or "python"),
        parallel_level=int(_number(fields, "parallelLevel", 0, where, low=0)),
    )


def _number(fields: Mapping[str, Any], key: str, default: float, where: str, *, low: int) -> float:
    """A number, or a text that holds one: TorchServe's JSON reader takes both."""
    value = fields.get(key)
    if value is None:
        return default
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if not low <= number < float("inf"):
        raise ValueError(f"{where}: {key} {value!r} must be a number from {low}")
    return _shortest(number)


def _shortest(number: float) -> float:
    return int(number) if number == int(number) else number


# --- files --------------------------------------------------------------------------------------------


class Configured(Protocol):
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

    def save(self, kind: Kind, settings: Configured, versions: Iterable[VersionSnapshot]) -> Path | None:
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
            secret = any(name in settings.texts for name in _SECRETS)
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


def snapshot_text(settings: Configured, models: ModelSnapshot, moment: datetime) -> str:
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
