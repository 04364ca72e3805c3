"""One log file on disk: appended to, and rolled over when it is full or the day ends.

Source of the rules: TorchServe's log4j2 defaults (100 MB or a day, gz, five old files). A day's file gets
TorchServe's name, `access_log.25-Nov.log.gz`; files that grew full within a day are `access_log.log.1.gz` and
so on (TorchServe gives both the same name, and so loses all but the last of a day).
"""

from __future__ import annotations

import gzip
import logging
import shutil
from datetime import date
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 100 * 1024 * 1024
KEPT = 5


class RollingFile(RotatingFileHandler):
    """A log file; at most five old ones are kept beside it, compressed."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=KEPT, encoding="utf-8", delay=True)
        self.namer = lambda name: name + ".gz"
        self.rotator = _compress
        self.terminator = "\n"
        self._path = path
        self._day = _last_written(path)

    def write(self, lines: list[str], moment: float) -> None:
        """Appends lines that were logged at that time; rolls over between two writes, never within one."""
        record = logging.makeLogRecord({"msg": "\n".join(lines), "args": None, "created": moment})
        self.emit(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record; whatever the disk says is reported on stderr and costs these lines only."""
        try:
            self._end_of_day(date.fromtimestamp(record.created))
        except OSError:
            self.handleError(record)
        super().emit(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the file is full; an empty one never is, however long the lines."""
        return _size(self._path) > 0 and bool(super().shouldRollover(record))

    def doRollover(self) -> None:
        """Makes room: the file was full."""
        super().doRollover()
        self._prune()

    def _end_of_day(self, today: date) -> None:
        day, self._day = self._day, today
        if day is None or day == today or not _size(self._path):
            return
        self.close()
        self.stream = None  # opened again by the next write
        _compress(str(self._path), str(self._name_of(day)))
        self._prune()

    def _name_of(self, day: date) -> Path:
        stem = f"{self._path.stem}.{day:%d-%b}"
        names = (f"{stem}{suffix}.log.gz" for suffix in ("", *(f".{number}" for number in range(1, 1000))))
        return next(path for name in names if not (path := self._path.with_name(name)).exists())

    def _prune(self) -> None:
        old = list(self._path.parent.glob(f"{self._path.stem}.*.gz"))
        old.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in old[:-KEPT]:
            path.unlink(missing_ok=True)


def _compress(source: str, target: str) -> None:
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    Path(source).unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_written(path: Path) -> date | None:
    try:
        return date.fromtimestamp(path.stat().st_mtime)
    except OSError:
        return None
