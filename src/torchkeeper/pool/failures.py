"""How the workers of a version were lost: each end is examined, kept and logged, but not at length again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from torchkeeper.machine.oom_kills import OomWatch
from torchkeeper.pool.dossier import Dossier
from torchkeeper.pool.process import WorkerProcess
from torchkeeper.pool.worker import Worker

logger = logging.getLogger(__name__)

#: Of all versions: each kill that the kernel counts is told of one worker.
_OOM = OomWatch()
#: Seconds in which the same end is not told at length again, though workers have loaded the model meanwhile.
_QUIET = 60.0


class Failures:
    """The last end of a worker that nobody wanted, and how often it came so.

    Args:
        emit: takes the lines of a traceback as if the worker had printed them on standard error.
    """

    def __init__(self, emit: Callable[[str, str, str], None]) -> None:
        self._emit = emit
        self.last: Dossier | None = None
        #: How often it came like the last one, one after the other.
        self.times = 0
        self._told_at = 0.0
        self._overcome = False

    def watch(self, worker: Worker) -> None:
        """A process is about to begin in that place."""
        worker.oom_kills = _OOM.now()
        worker.stderr.clear()

    def overcome(self) -> None:
        """A worker has loaded the model."""
        self._overcome = True

    def examine(
        self, worker: Worker, process: WorkerProcess | None, returncode: int | None, fault: str | None
    ) -> Dossier:
        """What is known of a worker whose process has ended; called before anything else is told of that."""
        now = time.time()
        found = Dossier(
            worker=worker.name,
            model=worker.spec.name,
            model_dir=worker.spec.model_dir,
            pid=None if process is None else process.pid,
            returncode=returncode,
            verdict=worker.verdict,
            fault=fault,
            words=worker.last_words,
            crash="" if process is None else process.crash,
            stderr=tuple(worker.stderr),
            in_flight=tuple(worker.in_flight()),
            peak_rss=0 if process is None else process.peak_rss,
            lived=now - worker.started_at,
            moment=now,
        )
        return replace(found, oom=_OOM.claim(worker.oom_kills)) if found.killed else found

    def keep(self, worker: Worker, dossier: Dossier) -> None:
        """Remembers an end and logs it: at length where it is not the same as before."""
        same = dossier.same_as(self.last)
        self.times = self.times + 1 if same else 1
        self.last = dossier
        if same and (not self._overcome or dossier.moment - self._told_at < _QUIET):
            requests = ", ".join(dossier.in_flight) or "none"
            text = "%s has ended: again, the same (%d times): %s; requests in hand: %s"
            logger.error(text, worker.name, self.times, dossier.cause, requests, extra=worker.known)
            return
        self._overcome, self._told_at = False, dossier.moment
        if dossier.words is not None:
            for line in dossier.words.traceback.splitlines():
                self._emit(worker.name, "stderr", line)
        logger.error("%s", dossier.record(), extra=worker.known)


def log_retry(worker: Worker, cause: str, seconds: int) -> None:
    """TorchServe's sentences about a worker that is lost and will be replaced; scripts look for them."""
    logger.warning("Worker disconnected. %s: %s", worker.name, cause, extra=worker.known)
    if worker.recovering:
        logger.warning("Auto recovery failed again", extra=worker.known)
    else:
        worker.recovering = True
        milliseconds = time.time_ns() // 1_000_000
        logger.info("Auto recovery start timestamp: %d", milliseconds, extra=worker.known)
    logger.warning("Retry worker: %s in %d seconds.", worker.name, seconds, extra=worker.known)
