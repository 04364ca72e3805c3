"""The composition root: what starts, in which order, and how it stops.

The one place that owns signals. Start: addresses, logs, models, listeners, template. Stop is the reverse,
each step with a deadline: stop accepting, let running requests finish, stop workers, flush logs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping

import uvloop

from torchkeeper import TORCHSERVE_VERSION, __version__
from torchkeeper.api.inference import InferenceApi
from torchkeeper.engine.models import Models, Sinks, worker_environ
from torchkeeper.errors import SettingsError
from torchkeeper.http.edge import EdgeLimits, edge_protocol
from torchkeeper.http.listener import Listener
from torchkeeper.log import Logs
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.metrics.system import cpu_count, gpu_count
from torchkeeper.settings import Settings, startup_models
from torchkeeper.worker.process import Launcher

logger = logging.getLogger(__name__)

#: Seconds that running requests get to finish after SIGTERM, and then workers to leave.
DRAIN = 30.0
WORKER_STOP = 5.0
#: Seconds that the log thread may keep the interpreter from the event loop; Python has ten times that.
_SWITCH = 0.0005


def run(
    settings: Settings, warnings: tuple[str, ...], ready: Callable[[], None], environ: Mapping[str, str]
) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    `ready` is called once, when the listeners are bound and accept.
    """
    listener = Listener("inference_address", settings.inference_address)
    try:
        listener.bind()
    except SettingsError as error:
        print(f"Invalid configuration: {error.message}", file=sys.stderr)
        return 1
    sys.setswitchinterval(_SWITCH)
    with Logs(settings) as logs:
        for line in banner(settings):
            logger.info("%s", line)
        for warning in warnings:
            logger.warning("%s", warning)
        uvloop.run(_Server(settings, environ, logs, listener).serve(ready))
    return 0


def banner(settings: Settings) -> list[str]:
    """What TorchServe prints at start, as far as it means something here."""
    addresses = settings.inference_address
    return [
        f"Torchserve version: {TORCHSERVE_VERSION} (torchkeeper {__version__})",
        f"Current directory: {os.getcwd()}",
        f"Temp directory: {settings.temp_dir}",
        f"Number of CPUs: {cpu_count()}",
        f"Python executable: {sys.executable}",
        f"Inference address: {addresses}",
        f"Model Store: {settings.model_store}",
        f"Initial Models: {','.join(settings.load_models) or 'N/A'}",
        f"Log dir: {settings.log_location}",
        f"Metrics dir: {settings.metrics_location}",
        f"Default workers per model: {settings.default_workers_per_model or cpu_count()}",
        f"Maximum Request Size: {settings.max_request_size}",
        f"Maximum Response Size: {settings.max_response_size}",
    ]


class _Server:
    """Everything that lives between start and stop."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], logs: Logs, listener: Listener
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._listener = listener
        self._ledger = Ledger()
        child_environ = worker_environ(settings, environ)
        self._launcher = Launcher(child_environ)
        hostname = socket.gethostname()
        sinks = Sinks(line=logs.model_line, sample=lambda sample: logs.model_metric(sample, hostname))
        self._models = Models(settings, child_environ, self._launcher, sinks)
        self._gpus = gpu_count(environ.get("CUDA_VISIBLE_DEVICES"), settings.number_of_gpu)

    async def serve(self, ready: Callable[[], None]) -> None:
        """The server's life, in reading order."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        logger.info("Number of GPUs: %d", self._gpus)
        template = loop.create_task(self._launcher.start())
        for name, url in startup_models(self._settings):
            await self._models.load_at_start(name, url)
        await self._listener.start(self._application(), self._protocol())
        logger.info(
            "Inference API bind to: %s (port %d)", self._settings.inference_address, self._listener.port
        )
        self._logs.say("Model server started.")
        self._logs.flush()
        ready()
        await asyncio.wait({template})
        await stop.wait()
        await self._stop()

    def _application(self) -> InferenceApi:
        settings = self._settings
        named = (
            ("access-control-allow-origin", settings.cors_allowed_origin),
            ("access-control-allow-methods", settings.cors_allowed_methods),
            ("access-control-allow-headers", settings.cors_allowed_headers),
        )
        cors = tuple((name.encode(), value.encode()) for name, value in named if value)
        return InferenceApi(self._models, self._ledger, cors, settings.max_request_size)

    def _protocol(self) -> type[asyncio.Protocol]:
        limits = EdgeLimits(max_body=self._settings.max_request_size)
        return edge_protocol(limits, self._logs.access if self._logs.writes_access else None)

    async def _stop(self) -> None:
        logger.info("Stopping: no new connections, running requests get %g s to finish", DRAIN)
        await self._listener.stop(DRAIN)
        await self._models.stop(WORKER_STOP)
        await self._launcher.stop()
        logger.info("Ledger: %s", self._ledger)
        logger.info("Torchserve stopped.")
