"""Log files in TorchServe's names, written by one thread, off the request path.

The event loop only appends tuples; formatting (`logs.lines`) and disk (`logs.files`) belong to the thread.
All lines also go to stdout, as those of TorchServe do. What waits is bounded: when disk or stdout cannot keep
up, lines are left out and counted, and a line says how many; so are those that a full disk does not take.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.config
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torchkeeper.config.log_config import LEVELS
from torchkeeper.config.settings import Settings
from torchkeeper.errors import SettingsError, reason_of
from torchkeeper.logs.console import Console
from torchkeeper.logs.files import MAX_BYTES, RollingFile
from torchkeeper.logs.lines import JSON, PLAIN, timestamp
from torchkeeper.logs.losses import Losses
from torchkeeper.metrics.pace import Pace
from torchkeeper.wire.messages import Sample

__all__ = ["Logs", "configure_python_logging", "timestamp"]

#: Writings in a second: a thread woken by every line would fight the event loop for the interpreter's lock.
_PER_SECOND = 10
#: Lines that may wait for the thread, and that it takes at a time.
MAX_WAITING = 100_000
_AT_ONCE = 10_000
_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_INFO, _WARN = LEVELS["info"], LEVELS["warn"]
#: What a record's `extra` may say of the request that it belongs to; only lines as JSON show it.
_KNOWN = ("request_id", "model", "worker")

_Item = tuple[Any, ...]


def configure_python_logging(config: Mapping[str, Any]) -> None:
    """Applies a dictConfig; its handlers get the server's own lines beside ts_log.log.

    Raises:
        SettingsError: logging.config does not take it.
    """
    try:
        logging.config.dictConfig(dict(config))
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = error.__cause__ or error
        raise SettingsError(f"--log-config: {error}" + (f": {cause}" if cause is not error else "")) from None


class _Records(logging.Handler):
    """Hands the package's own log records to the writer."""

    def __init__(self, put: Callable[[_Item], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        # A file name that is no UTF-8 carries surrogates, which would cost all lines written with it.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        level = _NAMES.get(record.levelname, record.levelname)
        known = {name: str(value) for name in _KNOWN if (value := getattr(record, name, None))}
        # Threads of blocking work have no name: to have one would leave Python's record of them for good.
        unnamed = (record.threadName or "").startswith("Dummy-")
        thread = "blocking" if unnamed else record.threadName
        self._put(("ts", record.created, level, thread, record.name, text, known))


class Logs:
    """The server's logs between start and stop; a context manager."""

    def __init__(
        self, settings: Settings, max_bytes: int = MAX_BYTES, max_waiting: int = MAX_WAITING
    ) -> None:
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._folders = (settings.log_location, settings.metrics_location)
        self._levels = settings.log_levels
        self._additional = settings.log_dict is not None
        self._formats = JSON if settings.log_format == "json" else PLAIN
        self._queue: queue.SimpleQueue[_Item | threading.Event | None] = queue.SimpleQueue()
        self._dropped = self._unsaid = 0
        self._losses = Losses()
        self._console = Console()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._urgent = threading.Event()
        self._pace = Pace(_PER_SECOND)
        self._files: dict[str, RollingFile] = {}
        self._handler = _Records(self._put)
        #: Level and propagation of the package's logger before `__enter__`.
        self._before = (logging.NOTSET, True)

    def __enter__(self) -> Logs:
        logs, metrics = self._folders
        refused = {folder: why for folder in (logs, metrics) if (why := _refusal(folder))}
        paths = {
            "access": logs / "access_log.log",
            "ts": logs / "ts_log.log",
            "model": logs / "model_log.log",
            "model_metrics": metrics / "model_metrics.log",
            "ts_metrics": metrics / "ts_metrics.log",
        }
        paths = {name: path for name, path in paths.items() if path.parent not in refused}
        self._files = {name: RollingFile(path, self._max_bytes) for name, path in paths.items()}
        for path in paths.values():
            # Scripts look for the files before there is a line in them; a disk that is full is told of later.
            with contextlib.suppress(OSError):
                path.touch()
        logger = logging.getLogger("torchkeeper")
        self._before = (logger.level, logger.propagate)
        if not (self._additional and logger.level):
            logger.setLevel(self._levels.server)
        logger.propagate = self._additional and logger.propagate
        logger.addHandler(self._handler)
        self._console.start()
        self._thread.start()
        for folder, why in refused.items():
            logger.warning("No log files in %s, the lines go to the console only: %s", folder, why)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logger = logging.getLogger("torchkeeper")
        logger.removeHandler(self._handler)
        level, logger.propagate = self._before
        logger.setLevel(level)
        self._queue.put(None)
        self._urgent.set()
        self._thread.join()
        self._console.close()
        for file in self._files.values():
            file.close()

    @property
    def writes_access(self) -> bool:
        """Whether access lines are wanted at all; if not, nobody needs to call `access`."""
        return self._levels.access <= _INFO

    @property
    def lost(self) -> Mapping[str, int]:
        """Lines that were lost since the start: to a `queue` that was full, to a `disk`, and to `stdout`."""
        return self._losses.counts

    def access(
        self,
        client: str,
        method: bytes,
        path: bytes,
        version: str,
        status: int,
        ms: float,
        request_id: bytes = b"",
    ) -> None:
        """One line of access_log.log; `client` is host:port, `ms` the milliseconds from request to answer."""
        if self._queue.qsize() < self._max_waiting:
            self._queue.put(("access", time.time(), client, method, path, version, status, ms, request_id))
        else:
            self._drop()

    def model_line(self, worker: str, stream: str, line: str) -> None:
        """A line that a worker printed, for model_log.log."""
        if self._levels.model <= (_INFO if stream == "stdout" else _WARN):
            self._put(("model", time.time(), worker, stream, line))

    def model_metric(self, sample: Sample, hostname: str) -> None:
        """A number that a handler recorded, for model_metrics.log."""
        if self._levels.model_metrics <= _INFO:
            self._put(("model_metrics", time.time(), sample, hostname))

    def ts_metric(self, sample: Sample, hostname: str) -> None:
        """A number of the server or its machine, for ts_metrics.log."""
        if self._levels.ts_metrics <= _INFO:
            self._put(("ts_metrics", time.time(), sample, hostname))

    def say(self, text: str) -> None:
        """A line of ts_log.log and stdout that no level hides: scripts wait for it."""
        self._put(("ts", time.time(), "INFO", threading.current_thread().name, "torchkeeper", text, {}))

    def flush(self) -> None:
        """Returns when everything that was logged before is written."""
        done = threading.Event()
        self._queue.put(done)
        self._urgent.set()
        done.wait()
        self._console.flush()

    def _put(self, item: _Item) -> None:
        if self._queue.qsize() < self._max_waiting:
            self._queue.put(item)
        else:
            self._drop()

    def _drop(self) -> None:
        with self._counting:
            self._dropped += 1

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            if isinstance(batch[0], tuple) and (wait := self._pace.turn(time.monotonic())):
                self._urgent.wait(wait)
            with contextlib.suppress(queue.Empty):
                while len(batch) < _AT_ONCE:
                    batch.append(self._queue.get_nowait())
            self._write([item for item in batch if isinstance(item, tuple)])
            for item in batch:
                if isinstance(item, threading.Event):
                    self._urgent.clear()
                    item.set()
            if None in batch:
                return

    def _write(self, items: list[_Item]) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
            unsaid, self._unsaid = self._unsaid, 0
        losses = self._losses
        lost = (
            (dropped, "queue", "log lines were left out: the disk"),
            (unsaid, "stdout", "lines were not shown: stdout's reader"),
        )
        for count, where, which in lost:
            if count:
                losses.counts[where] += count
                items.append(_warning(f"{count} {which} did not keep up"))
        if said := losses.stdout(self._console.lost, self._console.fault):
            items.append(_warning(said))
        by_file: dict[str, list[str]] = {}
        console: list[str] = []
        for name, *values in items:
            line = self._formats[name](*values)
            if (lines := by_file.get(name)) is None:
                lines = by_file[name] = []
            lines.append(line)
            console.append(line)
        told = []
        for name, lines in by_file.items():
            if (file := self._files.get(name)) is not None:
                missed = file.write(lines, items[0][1])
                told.append(losses.files(str(file.path), missed, file.fault, time.monotonic()))
        if console and not self._console.write("\n".join(console) + "\n"):
            with self._counting:
                self._unsaid += len(console)
        if said_now := [_warning(said) for said in told if said]:
            self._write(said_now)


def _warning(text: str) -> _Item:
    return ("ts", time.time(), "WARN", "logs", __name__, text, {})


def _refusal(folder: Path) -> str | None:
    """Why no file can be made in the folder, as in a read-only container; None if one can.

    A disk that is full is no such reason: it may have room later.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return None if error.errno == errno.ENOSPC else reason_of(error)
