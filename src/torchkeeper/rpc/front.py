"""Which services stand on which port: bound before the event loop runs, started and stopped on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from torchkeeper.config.settings import Settings
from torchkeeper.errors import SettingsError
from torchkeeper.http.tls import pem_pair
from torchkeeper.models.registry import Models
from torchkeeper.rpc.calls import Calls
from torchkeeper.rpc.health import HealthService
from torchkeeper.rpc.inference import InferenceService
from torchkeeper.rpc.listener import Options, RpcListener
from torchkeeper.rpc.management import ManagementService
from torchkeeper.rpc.openinference import OpenInferenceService
from torchkeeper.rpc.schema import (
    HEALTH,
    INFERENCE,
    MANAGEMENT,
    OPEN_INFERENCE,
    POOL,
    TORCHSERVE_OPEN_INFERENCE,
)
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.books import Books
from torchkeeper.serving.operations import Operations

logger = logging.getLogger(__name__)

#: Seconds in which the answer of the last call reaches its client.
LAST_WORDS = 1.0


@dataclass(frozen=True)
class RpcDoor:
    """A bound listener, the APIs that it serves, and the name of each for the log."""

    listener: RpcListener
    apis: Api
    names: tuple[str, ...]
    options: Options
    #: In the clear even with TLS: between KServe and its pods TLS is the mesh's.
    plain: bool = False


class RpcFront:
    """All gRPC listeners of a server."""

    def __init__(
        self, settings: Settings, doors: tuple[RpcDoor, ...], credentials: grpc.ServerCredentials | None
    ) -> None:
        self._settings = settings
        self._doors = doors
        self._credentials = credentials
        self._stopping = asyncio.Event()
        self._calls: Calls | None = None

    async def start(
        self,
        ask: Ask,
        models: Models,
        operations: Operations,
        books: Books,
    ) -> None:
        """Begins to accept calls.

        Raises:
            SettingsError: a port was taken in the meantime.
        """
        self._calls = calls = Calls(books)
        for door in self._doors:
            services: dict[str, dict[str, Any]] = {}
            if Api.INFERENCE in door.apis:
                services[INFERENCE] = InferenceService(ask, models, books, self._stopping).handlers(calls)
                open_inference = OpenInferenceService(ask, models, operations)
                for name in (OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE):
                    services[name] = open_inference.handlers(calls, name)
            if Api.MANAGEMENT in door.apis:
                services[MANAGEMENT] = ManagementService(operations).handlers(calls)
            services[HEALTH] = HealthService(models, self._stopping).handlers(calls, tuple(services))
            names = (*services, REFLECTION)

            def reflect(server: Any, names: Iterable[str] = names) -> None:
                enable_server_reflection(names, server, POOL)

            credentials = None if door.plain else self._credentials
            await door.listener.start(services, door.options, credentials, reflect)
            for name in door.names:
                logger.info("gRPC %s API bind to: %s (port %d)", name, door.listener.host, door.listener.port)

    async def stop(self, deadline: float) -> None:
        """Accepts no more calls, lets running ones finish within `deadline` seconds.

        Reflection is not waited for: tools keep such a call open as long as they live.
        """
        self._stopping.set()
        if not self._doors:  # all ports are somebody else's
            return
        stops = [asyncio.ensure_future(door.listener.stop(deadline)) for door in self._doors]
        if self._calls is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline):
                    await self._calls.drained()
                    # grpc's core may hold calls that came before the stop and have not begun here.
                    await asyncio.wait(stops, timeout=LAST_WORDS)
                    await self._calls.drained()
        stops += [asyncio.ensure_future(door.listener.stop(LAST_WORDS)) for door in self._doors]
        await asyncio.gather(*stops)


def open_front(settings: Settings) -> tuple[RpcFront, tuple[str, ...]]:
    """The listeners that the settings name, bound, and sentences about those that are missing.

    A default port that somebody else holds is no reason not to serve REST: many servers on one machine never
    meant to speak gRPC.

    Raises:
        SettingsError: a port that was asked for cannot be had, or there is no certificate for TLS.
    """
    credentials = _credentials(settings)
    doors: list[RpcDoor] = []
    warnings = []
    try:
        for wanted in _wanted(settings):
            try:
                doors.append(wanted.bound())
            except SettingsError as error:
                if wanted.asked_for:
                    raise
                names = " AND ".join(wanted.names).upper()
                warnings.append(f"THE gRPC {names} API IS NOT SERVED: {error.message}")
    except SettingsError:
        for door in doors:
            door.listener.release()
        raise
    return RpcFront(settings, tuple(doors), credentials), tuple(warnings)


@dataclass(frozen=True)
class _Wanted:
    """A door as the settings describe it; `key` names its port, for errors."""

    key: str
    host: str
    port: int
    apis: Api
    names: tuple[str, ...]
    options: Options
    asked_for: bool
    plain: bool = False

    def bound(self) -> RpcDoor:
        listener = RpcListener(self.key, self.host, self.port)
        listener.bind()
        return RpcDoor(listener, self.apis, self.names, self.options, self.plain)


def _wanted(settings: Settings) -> list[_Wanted]:
    """One door per host and port, which APIs share (but never port 0); under KServe one more."""
    found: list[_Wanted] = []
    for api, name, host, port in (
        (Api.INFERENCE, "inference", settings.grpc_inference_address, settings.grpc_inference_port),
        (Api.MANAGEMENT, "management", settings.grpc_management_address, settings.grpc_management_port),
    ):
        keys = (f"grpc_{name}_address", port_key := f"grpc_{name}_port")
        asked_for = any(settings.origins[key].kind != "default" for key in keys)
        row = _Wanted(port_key, host, port, api, (name,), _options(settings, api), asked_for)
        if port and found and (found[0].host, found[0].port) == (host, port):
            asked_for = asked_for or found[0].asked_for
            names = (*found[0].names, name)
            found[0] = replace(found[0], apis=found[0].apis | api, names=names, asked_for=asked_for)
        else:
            found.append(row)
    opened = settings.kserve and settings.kserve.grpc
    if opened:
        options = _options(settings, Api.INFERENCE)
        port_key, apis, names = "kserve_grpc_port", Api.INFERENCE, ("KServe",)
        found.append(_Wanted(port_key, opened.host, opened.port, apis, names, options, True, plain=True))
    return found


def _options(settings: Settings, api: Api) -> Options:
    age = settings.grpc_inference_max_connection_age_ms
    grace = settings.grpc_inference_max_connection_age_grace_ms
    if api is Api.MANAGEMENT:
        age = settings.grpc_management_max_connection_age_ms
        grace = settings.grpc_management_max_connection_age_grace_ms
    return Options(settings.max_request_size, age, grace)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if not settings.enable_grpc_ssl:
        return None
    return grpc.ssl_server_credentials([pem_pair(settings)])
