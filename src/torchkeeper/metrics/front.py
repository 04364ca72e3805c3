"""The front's metrics between start and stop: metrics.yaml, the registry, the timers and the files.

The one object that the server makes; everything else in this package is handed out by it. It runs on the
event loop, where all numbers arrive; the figures of the machine are read in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from torchkeeper.config.settings import Settings
from torchkeeper.metrics.catalogue import Catalogue, CatalogueError, read_catalogue
from torchkeeper.metrics.host import UNREADABLE, Host
from torchkeeper.metrics.instruments import Instruments, VersionMeter
from torchkeeper.metrics.intake import Intake, help_text
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.metrics.line import PREFIX
from torchkeeper.metrics.pace import Pace
from torchkeeper.metrics.registry import Family, Registry
from torchkeeper.wire.messages import Declared, Sample

logger = logging.getLogger(__name__)

#: How often in a second the server's own numbers become lines of ts_metrics.log.
PER_SECOND = 10
#: Seconds between two looks at the event loop's lag, and how many looks the gauge covers.
BEAT = 1.0
BEATS = 15


class MetricFiles(Protocol):
    """Who writes ts_metrics.log, model_metrics.log and model_log.log."""

    @property
    def lost(self) -> Mapping[str, int]:
        """Lines that were lost since the start, by where."""

    def ts_metric(self, sample: Sample, hostname: str) -> None:
        """A line of ts_metrics.log."""

    def model_metric(self, sample: Sample, hostname: str) -> None:
        """A line of model_metrics.log."""

    def model_line(self, worker: str, stream: str, line: str) -> None:
        """A line of model_log.log."""


class Metrics:
    """All metrics of a server.

    Args:
        settings: the keys that begin with metric, and their like.
        files: the logs.
        ledger: the counts of requests.
        hostname: value of the label Hostname.
        gpus: how many GPUs the server uses.
        visible: the value of CUDA_VISIBLE_DEVICES, None when it is not set.
    """

    def __init__(
        self,
        settings: Settings,
        files: MetricFiles,
        ledger: Ledger,
        hostname: str,
        gpus: int = 0,
        visible: str | None = None,
    ) -> None:
        self._files = files
        self._hostname = hostname
        self._interval = settings.metric_time_interval
        self._host = None if settings.disable_system_metrics else Host(gpus, visible)
        catalogue = self._read(settings)
        mode = settings.metrics_mode if catalogue is not None else "off"
        catalogue = catalogue or Catalogue()
        self.registry = Registry(mode)
        for metric in catalogue.ts:
            self.registry.add(Family(metric, help_text(metric)), logged=True)
        self._own = self.registry.logged()
        self._instruments = Instruments(
            self.registry, hostname, ledger, self.flush, self._changed, lambda: files.lost
        )
        detect = settings.model_metrics_auto_detect and mode != "off"
        told = mode != "off"
        self._intake = Intake(self.registry, catalogue.model, hostname, detect=detect, told=told)
        #: What handlers find declared in `context.metrics`.
        self.declared: tuple[Declared, ...] = catalogue.model
        self._tasks: list[asyncio.Task[None]] = []
        self._pace = Pace(PER_SECOND)
        self._booked = False
        self._call_later: Callable[..., object] | None = None

    # --- numbers in --------------------------------------------------------------------------------------

    def responded(self, status: int) -> None:
        """A response was sent on any of the APIs."""
        self._instruments.responded(status)
        if not self._booked:
            self._changed()

    def meter(self, name: str, version: str, batch_size: int) -> VersionMeter:
        """What measures a model version."""
        return self._instruments.meter(name, version, batch_size)

    def sample(self, sample: Sample) -> None:
        """A number that a handler recorded."""
        line = self._intake.sample(sample)
        if line is not None:
            self._files.model_metric(line, self._hostname)

    def line(self, worker: str, stream: str, line: str) -> None:
        """A line that a worker printed: a number in the old text form, or a line for model_log.log."""
        if stream != "stdout" or not line.startswith(PREFIX):
            self._files.model_line(worker, stream, line)
            return
        found = self._intake.line(line)
        if found is not None:
            self._files.model_metric(found, self._hostname)

    # --- start and stop ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the timers; on the event loop."""
        loop = asyncio.get_running_loop()
        self._call_later = loop.call_later
        self._tasks.append(loop.create_task(self._watch_loop()))
        if self._host is not None:
            self._tasks.append(loop.create_task(self._watch_host(self._host)))

    async def stop(self) -> None:
        """Stops the timers and writes what has been gathered."""
        self._call_later = None
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        self.flush()

    def flush(self) -> None:
        """Writes lines for ts_metrics.log: one for each number that has changed, with a counter's growth."""
        self._booked = False
        for family in self._own:
            for values, cell in family.cells():
                number = cell.take()
                if number is not None:
                    pairs = tuple(zip(family.labels, values, strict=True))
                    labels = tuple(pair for pair in pairs if pair[0].lower() != "hostname")
                    sample = Sample(family.name, number, family.unit, family.kind.upper(), labels)
                    self._files.ts_metric(sample, self._hostname)

    def _changed(self) -> None:
        """Has the numbers written; at once where that is seldom, so that they are there before the answer."""
        if self._booked or self._call_later is None or not self._own:
            return
        wait = self._pace.turn(time.monotonic())
        if wait:
            self._booked = True
            self._call_later(wait, self.flush)
        else:
            self.flush()

    @staticmethod
    def _read(settings: Settings) -> Catalogue | None:
        try:
            return read_catalogue(settings.metrics_config)
        except CatalogueError as error:
            logger.error("Failed to load metrics configuration, there will be no metrics: %s", error)
            return None

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        lags: deque[float] = deque(maxlen=BEATS)
        while True:
            before = loop.time()
            await asyncio.sleep(BEAT)
            lags.append(max(loop.time() - before - BEAT, 0.0))
            self._instruments.lag(max(lags))

    async def _watch_host(self, host: Host) -> None:
        while True:
            try:
                for sample in await asyncio.to_thread(host.read):
                    labels = dict(sample.dimensions)
                    self._instruments.bind(sample.name, **labels).update(sample.value)
                self.flush()
            except UNREADABLE as error:
                logger.warning("system metrics cannot be read: %s", error)
            await asyncio.sleep(self._interval)
