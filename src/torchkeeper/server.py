"""The composition root: what starts, in which order, and how it stops.

Start: addresses, logs, template and models side by side, listeners. It can be stopped at any moment of that.
Stop: accept nothing more, let running requests finish, stop workers, template, metrics and logs, each step
with a deadline.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import operator
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from torchkeeper.api.about import ApiDescription
from torchkeeper.api.application import Application
from torchkeeper.api.body import FormLimits
from torchkeeper.api.call import Handler
from torchkeeper.api.endpoints import ApiSettings, served
from torchkeeper.api.metrics import MetricsApi
from torchkeeper.api.routes import Endpoint, Match
from torchkeeper.api.shortcut import Shortcut
from torchkeeper.api.site import SiteGuard
from torchkeeper.api.vertex import shadowed, vertex_paths
from torchkeeper.archive.remote_store import local_store
from torchkeeper.archive.signatures import Verifier
from torchkeeper.archive.startup import startup_models
from torchkeeper.config.settings import Settings
from torchkeeper.config.types import Address
from torchkeeper.deadlines import STEP, TEMPLATE_STOP, WORKER_STOP
from torchkeeper.ending import Ending, hold_signals, step
from torchkeeper.errors import DownloadFailed, SettingsError, TorchkeeperError
from torchkeeper.http.limits import edge_limits
from torchkeeper.http.listener import Listener
from torchkeeper.http.tls import tls_context
from torchkeeper.keys.key_file import announcement, start_tokens
from torchkeeper.keys.tokens import Tokens
from torchkeeper.logs.banner import banner
from torchkeeper.logs.logs import Logs
from torchkeeper.machine.hardware import gpu_count, make_gpu_devices
from torchkeeper.machine.threads import in_thread, standing_threads
from torchkeeper.machine.torch_release import broken_promise, installed_torch
from torchkeeper.metrics.front import Metrics
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.models.builder import Builder, Sinks, worker_environ
from torchkeeper.models.keeper import Keeper
from torchkeeper.models.registry import Models
from torchkeeper.pool.launcher import Launcher
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.books import Books
from torchkeeper.serving.operations import Operations
from torchkeeper.serving.traffic import Traffic

if TYPE_CHECKING:
    from torchkeeper.rpc.front import RpcFront

logger = logging.getLogger(__name__)

#: The packages of the extra `grpc`.
_RPC_PACKAGES = ("grpc", "google", "grpc_reflection")
#: Seconds that the log thread may keep the interpreter from the event loop; Python has ten times that.
_SWITCH = 0.0005


def run(
    settings: Settings, warnings: tuple[str, ...], ready: Callable[[], None], environ: Mapping[str, str]
) -> int:
    """Serves until a signal asks for the end; returns the exit code.

    `ready` is called once, when the listeners are bound and accept.
    """
    hold_signals()
    environ = dict(environ)  # without what gRPC is told
    try:
        Verifier(settings).prepare()
        doors = doors_of(settings, tls_context(settings))
        lost = _shadowed(settings, doors)
        for door in doors:
            door.listener.bind()
        rpc, missing = _rpc_front(settings)
        started = start_tokens(settings, Path.cwd())
    except SettingsError as error:
        print(f"Invalid configuration: {error.message}", file=sys.stderr)
        return 1
    tokens, key_file = started or (None, None)
    sys.setswitchinterval(_SWITCH)
    try:
        with Logs(settings) as logs:
            keys = announcement(key_file, open_inference=settings.open_inference) if key_file else ()
            for line in (*banner(settings), *keys):
                logger.info("%s", line)
            unsafe = broken_promise(installed_torch())
            for warning in (*warnings, *lost, *missing, *([unsafe] if unsafe else [])):
                logger.warning("%s", warning)
            with local_store(settings) as settings:
                return uvloop.run(_Server(settings, environ, logs, doors, rpc, tokens).serve(ready))
    finally:
        if key_file is not None:
            key_file.remove()


def _rpc_front(settings: Settings) -> tuple[RpcFront | None, tuple[str, ...]]:
    """The gRPC listeners, bound; without the packages none, and a sentence that says so.

    Raises:
        SettingsError: a port that was asked for cannot be had, or there is no certificate for TLS.
    """
    try:
        from torchkeeper.rpc.front import open_front
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _RPC_PACKAGES:
            raise
        return None, (f"gRPC is not served: {error.name} is missing; pip install 'torchkeeper[grpc]'",)
    return open_front(settings)


@dataclass(frozen=True)
class Door:
    """A listener and the APIs that it serves, with the name of each for the log."""

    listener: Listener
    apis: Api
    names: tuple[str, ...]


def doors_of(settings: Settings, context: ssl.SSLContext | None = None) -> tuple[Door, ...]:
    """One listener per address; APIs that share an address share the listener (port 0 is never shared).

    Under KServe and Vertex AI one more on their port, for inference, unless something configured is there.
    """
    wanted = [
        (Api.INFERENCE, "Inference", "inference_address", settings.inference_address),
        (Api.MANAGEMENT, "Management", "management_address", settings.management_address),
    ]
    if settings.enable_metrics_api:
        wanted.append((Api.METRICS, "Metrics", "metrics_address", settings.metrics_address))
    if settings.vertex is not None and settings.vertex.shares is not None:
        place: Address = getattr(settings, settings.vertex.shares)
        wanted.append((Api.INFERENCE, "Vertex AI", "AIP_HTTP_PORT", place))
    grouped: dict[object, list[tuple[Api, str, str, Address]]] = {}
    for row in wanted:
        grouped.setdefault(row[3] if row[3].port or row[3].path else row[2], []).append(row)
    called = (
        ("kserve_http_port", "KServe", settings.kserve),
        ("AIP_HTTP_PORT", "Vertex AI", settings.vertex),
    )
    extra = tuple(
        Door(Listener(name, platform.http), Api.INFERENCE, (caller,))
        for name, caller, platform in called
        if platform is not None and platform.http is not None
    )
    doors = tuple(
        Door(
            Listener(rows[0][2], rows[0][3], context),
            functools.reduce(operator.or_, (row[0] for row in rows)),
            tuple(row[1] for row in rows),
        )
        for rows in grouped.values()
    )
    return (*doors, *extra)


def _own_paths(settings: Settings) -> Mapping[str, Match]:
    """Routes of paths that a platform made up.

    Raises:
        SettingsError: they are none.
    """
    return vertex_paths(settings.vertex.health, settings.vertex.predict) if settings.vertex else {}


def _shadowed(settings: Settings, doors: Sequence[Door]) -> list[str]:
    """Sentences about routes of the server that a platform's stand in place of, and where.

    Raises:
        SettingsError: the platform's routes are none.
    """
    paths = _own_paths(settings)
    return [
        f"{door.listener.address}: {sentence}"
        for door in doors
        if door.apis & Api.INFERENCE
        for sentence in shadowed(paths, door.apis)
    ]


class _CannotStart(Exception):
    """The server must not run like this; the text says why."""


class _Server:
    """Everything that lives between start and stop."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        logs: Logs,
        doors: Sequence[Door],
        rpc: RpcFront | None,
        tokens: Tokens | None,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._logs = logs
        self._doors = doors
        self._rpc = rpc
        self._ledger = Ledger()
        child_environ = worker_environ(settings, environ)
        self._launcher = Launcher(child_environ, strict=settings.sandbox == "strict")
        visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._gpus = gpu_count(visible, settings.number_of_gpu)
        if self._gpus:
            make_gpu_devices()
        self._metrics = Metrics(settings, logs, self._ledger, socket.gethostname(), self._gpus, visible)
        metrics = self._metrics
        sinks = Sinks(metrics.line, metrics.sample, metrics.meter, metrics.declared)
        self._models = Models(settings, Builder(settings, child_environ, self._launcher, sinks, self._gpus))
        self._ask = Ask(Traffic(self._models))
        self._keeper = Keeper(settings, self._models)
        self._operations = Operations(self._ask, self._models, settings, self._keeper.changed)
        access = logs.access if logs.writes_access else None
        self._books = Books(self._ledger, tokens, self._metrics.responded, access)
        self._ending = Ending(settings.drain_delay + settings.drain_timeout)
        self._forms = FormLimits(settings.max_form_parts, settings.max_form_fields)
        self._template: asyncio.Task[None] | None = None
        #: Whether all of it has been started.
        self._up = False

    async def serve(self, ready: Callable[[], None]) -> int:
        """The server's life, in reading order; returns the exit code."""
        asyncio.get_running_loop().set_default_executor(standing_threads())
        self._ending.hear()
        logger.info("Number of GPUs: %d", self._gpus)
        self._metrics.start()
        code = 0
        try:
            if await self._ending.unless_asked(self._start()):
                self._up = True
                self._logs.say("Model server started.")
                self._logs.flush()
                gc.collect()
                gc.freeze()  # what the start has made stays, and looking through all of it takes milliseconds
                ready()
                await self._ending.wait()
        except _CannotStart as error:
            logger.error("Invalid configuration: %s", error)
            code = 1
        finally:
            await self._stop()
            self._ending.hear_no_more()
        return self._ending.exit_code or code

    async def _start(self) -> None:
        """All that has to be there before anybody is served; can be cancelled at any moment.

        Raises:
            _CannotStart: the snapshot cannot be restored, or a port was taken meanwhile.
        """
        # It imports what workers share while archives are read; a worker waits for it, nothing else does.
        self._template = asyncio.get_running_loop().create_task(self._launcher.start())
        # Vertex AI ends containers that do not listen soon; its health says when the models are there.
        steps = (self._load, self._listen)
        if self._settings.vertex is not None:
            self._models.starting = True
            steps = (self._listen, self._load)
        for each in steps:
            await each()
        await self._keeper.save("startup")

    async def _load(self) -> None:
        """Registers the start-up models."""
        await self._models.clean_up()
        try:
            await self._keeper.restore()
        except (TorchkeeperError, OSError) as error:
            raise _CannotStart(f"the snapshot cannot be restored: {error}") from error
        try:
            wanted = await in_thread(lambda check: startup_models(self._settings))
        except DownloadFailed as error:
            raise _CannotStart(f"the model store cannot be listed: {error}: {error.cause}") from error
        for name, url in wanted:
            await self._models.load_at_start(name, url)
        self._models.starting = False

    async def _listen(self) -> None:
        """Begins to accept."""
        vertex = self._settings.vertex
        forms = self._forms
        endpoints = served(
            self._ask,
            self._models,
            self._operations,
            self._tokens,
            MetricsApi(self._metrics.registry, openmetrics=self._settings.metrics_openmetrics, forms=forms),
            ApiSettings(
                max_request_size=self._settings.max_request_size,
                ping_ready=self._settings.ping_ready,
                vertex_envelope=vertex.envelope if vertex else None,
                forms=forms,
            ),
        )
        for door in self._doors:
            await self._open(door, endpoints)
        if self._rpc is not None:
            try:
                await self._rpc.start(self._ask, self._models, self._operations, self._books)
            except SettingsError as error:
                raise _CannotStart(error.message) from error

    async def _open(self, door: Door, endpoints: Mapping[Endpoint, Handler]) -> None:
        limits = edge_limits(self._settings)
        described = {**endpoints, **ApiDescription(door.apis, self._models).endpoints()}
        application = Application(
            door.apis,
            described,
            self._books,
            max_body=limits.max_body,
            cors=_cors(self._settings),
            own_paths=_own_paths(self._settings),
            site=None if self._tokens is not None else _site(self._settings, door.listener.address),
        )
        shortcut = None
        if door.apis & Api.INFERENCE:
            predict = endpoints[Endpoint.PREDICT]
            shortcut = Shortcut(application, predict, self._ask, self._books, self._forms).take
        await door.listener.start(application, limits, application.unasked, self._books.access, shortcut)
        for name in door.names:
            logger.info("%s API bind to: %s (port %d)", name, door.listener.address, door.listener.port)

    async def _stop(self) -> None:
        """The way down, also of a server that is half up: each step has its time, and none is left out."""
        self._ending.limit_life()
        self._models.ending = True
        if self._up and (delay := self._settings.drain_delay):
            logger.info("Stopping: not ready any more, requests are still taken for %d s", delay)
            await self._ending.unless_at_once(asyncio.create_task(asyncio.sleep(delay)), delay + STEP)
        patience = self._settings.drain_timeout
        logger.info("Stopping: no new connections, running requests get %d s to finish", patience)
        # What is still running then is told so, and has a moment to be sent.
        drained = asyncio.get_running_loop().create_task(self._drain(patience + STEP))
        if not await self._ending.unless_at_once(drained, patience):
            logger.warning("Running requests are not waited for any more")
            self._models.abandon()
        await step("the listeners", drained)
        await step("changes of the models", self._operations.stop())
        if self._up:  # what is half up must not be what the next start goes on from
            await step("the snapshots", self._keeper.save("shutdown"))
        grace = 0.0 if self._ending.at_once else WORKER_STOP
        await step("the workers", self._models.stop(grace), grace + STEP)
        await step("the template", self._launcher.stop(), TEMPLATE_STOP + STEP)
        await step("the metrics", self._metrics.stop())
        logger.info("Ledger: %s", self._ledger)
        logger.info("Torchserve stopped.")

    async def _drain(self, patience: float) -> None:
        """Stops accepting, and lets running requests finish within so many seconds."""
        fronts = (*(door.listener for door in self._doors), *((self._rpc,) if self._rpc else ()))
        ends = await asyncio.gather(*(front.stop(patience) for front in fronts), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                logger.error("a listener did not stop as it should: %r", end, exc_info=end)


def _site(settings: Settings, address: Address) -> SiteGuard:
    """Who may manage models at an address where no tokens are asked for."""
    return SiteGuard(address.host, settings.allowed_hosts, settings.cors_allowed_origin)


def _cors(settings: Settings) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that browsers ask for, as far as they are set."""
    named = (
        ("access-control-allow-origin", settings.cors_allowed_origin),
        ("access-control-allow-methods", settings.cors_allowed_methods),
        ("access-control-allow-headers", settings.cors_allowed_headers),
    )
    return tuple((name.encode(), value.encode()) for name, value in named if value)
