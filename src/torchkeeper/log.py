"""Log files in TorchServe's names and formats, written by one thread, off the request path.

The event loop only appends tuples; formatting and disk belong to the thread. All lines also go to stdout, as
TorchServe's do. Source of formats: TorchServe's log4j2 defaults (100 MB or a day, five old files, gz).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import logging
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from torchkeeper.messages import Sample
from torchkeeper.settings import Settings

_MAX_BYTES = 100 * 1024 * 1024
_KEPT = 5
#: Seconds that lines are gathered before they are written: a thread woken by every line would fight the event
#: loop for the interpreter's lock.
_GATHER = 0.05
_LEVELS = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_UNITS = {"ms": "Milliseconds", "s": "Seconds", "percent": "Percent", "count": "Count", "MB": "Megabytes"}


def timestamp(moment: float) -> str:
    """ISO time with milliseconds after a comma, local time."""
    second = int(moment)
    return f"{_second(second)},{int((moment - second) * 1000):03}"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second).isoformat()


class _File(RotatingFileHandler):
    """One log file; old ones are kept compressed."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=_KEPT, encoding="utf-8", delay=True)
        self.namer = lambda name: name + ".gz"
        self.rotator = _compress
        self.terminator = "\n"

    def write(self, lines: list[str]) -> None:
        """Appends lines; rolls over between two writes."""
        self.emit(logging.makeLogRecord({"msg": "\n".join(lines), "args": None}))


def _compress(source: str, target: str) -> None:
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    Path(source).unlink()


class _Records(logging.Handler):
    """Hands the package's own log records to the writer."""

    def __init__(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        # A file name that is no UTF-8 carries surrogates, which would cost all lines written with it.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        level = _LEVELS.get(record.levelname, record.levelname)
        self._put(("ts", record.created, level, record.threadName, record.name, text))


class Logs:
    """The server's logs between start and stop; a context manager."""

    def __init__(self, settings: Settings, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._folders = (settings.log_location, settings.metrics_location)
        self._queue: queue.SimpleQueue[tuple[Any, ...] | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._urgent = threading.Event()
        self._files: dict[str, _File] = {}
        self._handler = _Records(self._queue.put)

    def __enter__(self) -> Logs:
        logs, metrics = self._folders
        for folder in (logs, metrics):
            folder.mkdir(parents=True, exist_ok=True)
        paths = {
            "access": logs / "access_log.log",
            "ts": logs / "ts_log.log",
            "model": logs / "model_log.log",
            "model_metrics": metrics / "model_metrics.log",
        }
        self._files = {name: _File(path, self._max_bytes) for name, path in paths.items()}
        logger = logging.getLogger("torchkeeper")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self._handler)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("torchkeeper").removeHandler(self._handler)
        self._queue.put(None)
        self._urgent.set()
        self._thread.join()
        for file in self._files.values():
            file.close()

    def access(self, client: str, method: bytes, path: bytes, version: str, status: int, ms: float) -> None:
        """One line of access_log.log; `client` is host:port, `ms` the milliseconds from request to answer."""
        self._queue.put(("access", time.time(), client, method, path, version, status, ms))

    def model_line(self, worker: str, stream: str, line: str) -> None:
        """A line that a worker printed, for model_log.log."""
        self._queue.put(("model", time.time(), worker, stream, line))

    def model_metric(self, sample: Sample, hostname: str) -> None:
        """A number that a handler recorded, for model_metrics.log."""
        self._queue.put(("model_metrics", time.time(), sample, hostname))

    def flush(self) -> None:
        """Returns when everything that was logged before is written."""
        done = threading.Event()
        self._queue.put(done)
        self._urgent.set()
        done.wait()

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            if isinstance(batch[0], tuple):
                self._urgent.wait(_GATHER)
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._queue.get_nowait())
            self._write([item for item in batch if isinstance(item, tuple)])
            for item in batch:
                if isinstance(item, threading.Event):
                    self._urgent.clear()
                    item.set()
            if None in batch:
                return

    def _write(self, items: list[tuple[Any, ...]]) -> None:
        by_file: dict[str, list[str]] = {name: [] for name in self._files}
        console: list[str] = []
        for name, *values in items:
            line = _FORMATS[name](*values)
            by_file[name].append(line)
            console.append(line)
        for name, lines in by_file.items():
            if lines:
                self._files[name].write(lines)
        if console:
            with contextlib.suppress(OSError, ValueError):  # whoever read our stdout may have left
                sys.stdout.write("\n".join(console) + "\n")
                sys.stdout.flush()


def _access(
    moment: float, client: str, method: bytes, path: bytes, version: str, status: int, ms: float
) -> str:
    line = f"{method.decode('ascii')} {path.decode('latin-1')} HTTP/{version}"
    return f'{timestamp(moment)} - /{client} "{line}" {status} {ms:.0f}'


def _ts(moment: float, level: str, thread: str, name: str, text: str) -> str:
    return f"{timestamp(moment)} [{level:<5}] {thread} {name} - {text}"


def _model(moment: float, worker: str, stream: str, line: str) -> str:
    level = "INFO " if stream == "stdout" else "WARN "
    return f"{timestamp(moment)} [{level}] {worker}-{stream} MODEL_LOG - {line}"


def _metric(moment: float, sample: Sample, hostname: str) -> str:
    dimensions = ",".join(f"{name}:{value}" for name, value in sample.dimensions)
    request = f"requestID:{sample.request_id}," if sample.request_id else ""
    unit = _UNITS.get(sample.unit, sample.unit)
    return (
        f"{timestamp(moment)} - {sample.name}.{unit}:{sample.value}|#{dimensions}"
        f"|#hostname:{hostname},{request}timestamp:{int(moment)}"
    )


_FORMATS: dict[str, Callable[..., str]] = {
    "access": _access,
    "ts": _ts,
    "model": _model,
    "model_metrics": _metric,
}
