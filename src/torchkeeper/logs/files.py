"""One log file on disk: appended to, and rolled over when it is full or the day ends.

A disk that is full, or fails, costs the lines that it did not take and nothing else: they are counted, no
line is torn, and old files stay as they are. Source of the rules: TorchServe's log4j2 defaults (100 MB or a
day, gz, five old files). A day's file gets TorchServe's name, `access_log.25-Nov.log.gz`; files that grew
full within a day are `access_log.log.1.gz` and so on (TorchServe gives both the same name, and so loses all
but the last of a day).
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from torchkeeper.errors import reason_of

MAX_BYTES = 100 * 1024 * 1024
KEPT = 5
#: Seconds until it is tried again to roll a file over: that reads all of it.
_AGAIN = 60.0


class RollingFile:
    """A log file; at most five old ones are kept beside it, compressed."""

    def __init__(
        self, path: Path, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        #: Why the last write lost lines; empty after one that did not.
        self.fault = ""
        self._max_bytes = max_bytes
        self._clock = clock
        self._file: int | None = None
        self._day = _last_written(path)
        #: Until then a file that could not be rolled over only grows.
        self._grows_until = 0.0

    def write(self, lines: list[str], moment: float) -> int:
        """Appends lines that were logged at that time; rolls over between two writes, never within one.

        Returns:
            how many lines the disk did not take.
        """
        data = "\n".join((*lines, "")).encode("utf-8", "backslashreplace")
        self.fault = ""
        try:
            self._make_room(date.fromtimestamp(moment), len(data))
            written = self._append(data)
        except OSError as error:  # the folder may be back next time
            self.close()
            self.fault = reason_of(error)
            written = 0
        if written == len(data):
            return 0
        taken, place = 0, 0
        for line in lines:
            place += len(line.encode("utf-8", "backslashreplace")) + 1
            taken += place <= written
        return len(lines) - taken

    def close(self) -> None:
        """Closes the file; another write opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _append(self, data: bytes) -> int:
        """Writes what there is room for, in whole lines; returns its size."""
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
        except OSError as error:
            self.fault = reason_of(error)
            whole = data.rfind(b"\n", 0, written) + 1
            if written > whole and (size := _size(self._file)) >= written - whole:
                os.ftruncate(self._file, size - (written - whole))
            self.close()  # what is in its place next time may be another one
            return whole
        return written

    # --- rolling over ------------------------------------------------------------------------------------

    def _make_room(self, today: date, coming: int) -> None:
        size = _size(self.path)
        if not size or self._day is None:
            self._day = today
            return
        if today == self._day and size + coming < self._max_bytes:
            return
        if self._clock() < self._grows_until:
            return
        try:
            self._roll(self._day if self._day != today else None)
        except OSError:  # most likely the disk is full: the lines matter more than the file's size
            self._grows_until = self._clock() + _AGAIN
            return
        self._day = today

    def _roll(self, day: date | None) -> None:
        """Compresses the file away, under a day's name or a number; if that fails it goes on."""
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with open(self.path, "rb") as plain, gzip.open(part, "wb") as packed:
                shutil.copyfileobj(plain, packed)
            self.close()
            if day is None:
                for age in range(KEPT - 1, 0, -1):
                    if self._aged(age).exists():
                        self._aged(age).replace(self._aged(age + 1))
            part.replace(self._aged(1) if day is None else self._name_of(day))
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self.path.unlink()
        self._prune()

    def _aged(self, age: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{age}.gz")

    def _name_of(self, day: date) -> Path:
        stem = f"{self.path.stem}.{day:%d-%b}"
        names = (f"{stem}{suffix}.log.gz" for suffix in ("", *(f".{number}" for number in range(1, 1000))))
        return next(path for name in names if not (path := self.path.with_name(name)).exists())

    def _prune(self) -> None:
        old = list(self.path.parent.glob(f"{self.path.stem}.*.gz"))
        old.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in old[:-KEPT]:
            path.unlink(missing_ok=True)


def _size(file: Path | int) -> int:
    """A file's bytes; 0 if it is none, as a pipe in its place is."""
    try:
        found = os.stat(file)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _last_written(path: Path) -> date | None:
    try:
        return date.fromtimestamp(path.stat().st_mtime)
    except OSError:
        return None
