"""What the management URLs mean: register, scale, describe, list, set the default, unregister.

Source of parameters, statuses and sentences: TorchServe's management API. Nothing here waits on the event
loop: archives are read in threads, workers load in their own processes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from torchkeeper.api.call import Call, Handler
from torchkeeper.api.description import describe
from torchkeeper.api.parameters import Describe, Page, Register, Scale, T, read
from torchkeeper.engine.models import Models, Wish
from torchkeeper.engine.version import ModelVersion
from torchkeeper.errors import (
    BadRequest,
    MethodNotAllowed,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
    WorkerDied,
)
from torchkeeper.http.router import Endpoint
from torchkeeper.messages import Input, Kind, Reply
from torchkeeper.settings import Settings

logger = logging.getLogger(__name__)

PROCESSING = "Processing worker updates..."
_MAX_PAGE = 100


class ManagementApi:
    """The endpoints of the management API. `changed` is called after every change of what is served."""

    def __init__(self, models: Models, settings: Settings, changed: Callable[[], Awaitable[None]]) -> None:
        self._models = models
        self._settings = settings
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {
            Endpoint.LIST: self._list,
            Endpoint.REGISTER: self._register,
            Endpoint.DESCRIBE: self._describe,
            Endpoint.SCALE: self._scale,
            Endpoint.SET_DEFAULT: self._set_default,
            Endpoint.UNREGISTER: self._unregister,
            Endpoint.READY: self._ready,
        }

    # --- looking -----------------------------------------------------------------------------------------

    async def _list(self, call: Call) -> Reply:
        page = await _read(call, Page)
        limit = page.limit if 0 <= page.limit <= _MAX_PAGE else _MAX_PAGE
        names = sorted(self._models.names())
        end = page.next_page_token + limit
        body: dict[str, Any] = {"nextPageToken": str(end)} if limit and end < len(names) else {}
        body["models"] = [
            {"modelName": name, "modelUrl": self._models.find(name).about.url}
            for name in names[page.next_page_token : end]
        ]
        return json_reply(body)

    async def _describe(self, call: Call) -> Reply:
        name, version = str(call.match.model), call.match.version
        wanted = await _read(call, Describe)
        if version == "all":
            return json_reply([describe(found) for found in self._models.versions(name)])
        found = self._models.find(name, version)
        metadata = await self._metadata(call, found) if wanted.customized else None
        return json_reply([describe(found, metadata)])

    async def _metadata(self, call: Call, found: ModelVersion) -> dict[str, Any]:
        """What the handler says of itself; nothing where it says no mapping."""
        try:
            reply = await found.dispatcher.submit(Input(call.request_id, Kind.DESCRIBE, (), {}))
        except ServiceUnavailable as error:
            raise ServiceUnavailable(
                f'Model "{found.name}" has no worker to serve describe request. '
                "Please use scale workers API to add workers.",
                cause=error.cause,
            ) from None
        except WorkerDied as error:
            raise TorchkeeperError("Failed to get customized model matadata.", cause=error.cause) from None
        try:
            said = json.loads(reply.body)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    async def _ready(self, call: Call) -> Reply:
        found = self._models.find(str(call.match.model))
        return json_reply({"name": found.name, "ready": found.loaded_workers() > 0})

    # --- changing ----------------------------------------------------------------------------------------

    async def _register(self, call: Call) -> Reply:
        self._check_model_api("GET")
        wanted = await _read(call, Register)
        if wanted.url is None:
            raise BadRequest("Parameter url is required.")
        found = await self._models.register(
            Wish(
                url=wanted.url,
                name=wanted.model_name or None,
                handler=wanted.handler or None,
                runtime=wanted.runtime or None,
                batch_size=wanted.batch_size,
                max_batch_delay=wanted.max_batch_delay,
                response_timeout=wanted.response_timeout,
                startup_timeout=wanted.startup_timeout,
                workers=wanted.initial_workers,
                signed=wanted.s3_sse_kms,
            )
        )
        workers = found.min_workers
        said = f'Model "{found.name}" Version: {found.version} registered with {workers} initial workers'
        if workers == 0:
            await self._changed()
            return _status(f"{said}. Use scale workers API to add workers for the model.")
        if not wanted.synchronous:
            await self._changed()
            return _status(PROCESSING, 202)
        await self._models.settle(found)
        await self._changed()
        return _status(said)

    async def _scale(self, call: Call) -> Reply:
        wanted = await _read(call, Scale)
        low = wanted.min_worker
        high = low if wanted.max_worker is None else wanted.max_worker
        if high < low:
            raise BadRequest("max_worker cannot be less than min_worker.")
        version = call.match.version or wanted.model_version
        found = self._models.find(str(call.match.model), version)
        if not wanted.synchronous:
            self._later(self._scaled(found, low, high))
            return _status(PROCESSING, 202)
        await self._scaled(found, low, high)
        cause = await found.pool.settled()
        if cause is not None:
            raise StartFailed(found.name, found.version, cause)
        said = f"Workers scaled to {low} for model: {found.name}"
        return _status(said if version is None else f"{said}, version: {version}")

    async def _scaled(self, found: ModelVersion, low: int, high: int) -> None:
        await found.scale(low, high)
        await self._changed()

    async def _set_default(self, call: Call) -> Reply:
        name, version = str(call.match.model), str(call.match.version)
        self._models.set_default(name, version)
        await self._changed()
        return _status(f'Default version successfully updated for model "{name}" to "{version}"')

    async def _unregister(self, call: Call) -> Reply:
        self._check_model_api("GET", "PUT", "OPTIONS")
        name = str(call.match.model)
        try:
            await self._models.unregister(name, call.match.version, self._settings.unregister_model_timeout)
        finally:
            await self._changed()
        return _status(f'Model "{name}" unregistered')

    def _check_model_api(self, *others: str) -> None:
        if not self._settings.enable_model_api:
            raise MethodNotAllowed(others)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("scaling failed", exc_info=error)

    async def stop(self) -> None:
        """Ends what still runs in the background."""
        for task in tuple(self._tasks):
            task.cancel()


def json_reply(value: object, status: int = 200) -> Reply:
    """A JSON answer of the server itself: two spaces, a trailing newline."""
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Reply(body, status, "", {}, "application/json")


def _status(sentence: str, status: int = 200) -> Reply:
    return json_reply({"status": sentence}, status)


async def _read(call: Call, kind: type[T]) -> T:
    body = await call.body()
    return read(kind, call.scope["query_string"], call.header(b"content-type"), body)
