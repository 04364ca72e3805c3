"""The standard health service, with the truth: what REST's probes say.

Names are those of models and of services; "" is the server. Source: gRPC's health checking protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

from torchkeeper.errors import ModelNotFound, ServiceUnavailable, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.models.registry import Models
from torchkeeper.rpc.calls import Calls, Rpc, RpcCall
from torchkeeper.rpc.schema import HEALTH, message, methods

HealthCheckResponse = message("grpc.health.v1.HealthCheckResponse")
HealthListResponse = message("grpc.health.v1.HealthListResponse")

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
#: Seconds between two looks of a Watch: workers come and go in many ways, and a look costs microseconds.
WATCH = 0.5


class UnknownService(TorchkeeperError):
    """Neither a model nor a service: NOT_FOUND."""

    status = 404
    type = "ResourceNotFoundException"


class HealthService:
    """The RPCs of grpc.health.v1.Health."""

    def __init__(self, models: Models, stopping: asyncio.Event) -> None:
        self._models = models
        self._stopping = stopping

    def handlers(self, calls: Calls, services: Collection[str]) -> dict[str, Any]:
        """gRPC's handlers by method name, on a listener that has these services."""
        names = frozenset(services)

        async def check(call: RpcCall, request: Any) -> Any:
            status = self._status(request.service, names)
            if status == SERVICE_UNKNOWN:
                raise UnknownService(f"Neither a model nor a service: {request.service}")
            return HealthCheckResponse(status=status)

        async def every(call: RpcCall, request: Any) -> Any:
            found = HealthListResponse()
            for name in ("", *names, *self._models.names()):
                found.statuses[name].status = self._status(name, names)
            return found

        async def watch(call: RpcCall, request: Any) -> None:
            """Each change until the client leaves, or the server stops: that is the last one."""
            said = None
            while True:
                stopping = self._stopping.is_set()
                status = self._status(request.service, names)
                if status != said:
                    await call.write(HealthCheckResponse(status=status))
                    said = status
                if stopping:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH):  # wait_for may lose a cancel that comes with a stop
                        await self._stopping.wait()

        serve = {"Check": check, "List": every, "Watch": watch}
        return calls.handlers(methods(HEALTH), {name: Rpc(one, Key.PROBE) for name, one in serve.items()})

    def _status(self, name: str, services: Collection[str]) -> int:
        if name == "" or name in services:
            ready = not self._models.unready()
        else:
            try:
                ready = self._models.find(name).ready()
            except ModelNotFound:
                return SERVICE_UNKNOWN
            except ServiceUnavailable:
                return NOT_SERVING
        return SERVING if ready and not self._stopping.is_set() else NOT_SERVING
