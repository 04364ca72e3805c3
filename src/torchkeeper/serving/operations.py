"""What can be done with the models that are served: the operations behind the management APIs, REST and gRPC.

Source of sentences: TorchServe's management API. Nothing here waits on the event loop: archives are read in
threads, workers load in their own processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from torchkeeper.config.model_settings import from_request
from torchkeeper.config.settings import Settings
from torchkeeper.errors import (
    BadRequest,
    CleaningTimedOut,
    Conflict,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
    WorkerDied,
)
from torchkeeper.models.registry import Models, Wish
from torchkeeper.models.version import ModelVersion
from torchkeeper.pool.worker import Worker
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.description import Description, describe
from torchkeeper.serving.offload import LONG, offload
from torchkeeper.serving.parameters import Page, Registration, Scale
from torchkeeper.wire.messages import Input, Kind

logger = logging.getLogger(__name__)

PROCESSING = "Processing worker updates..."
_MAX_PAGE = 100

T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """What was done, in TorchServe's sentence; not `complete`: workers are still on their way."""

    sentence: str
    complete: bool = True


class Operations:
    """Looking at and changing what is served. `changed` is called after every change."""

    def __init__(
        self, ask: Ask, models: Models, settings: Settings, changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._ask = ask
        self._models = models
        self._settings = settings
        self._changed = changed
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def model_api(self) -> bool:
        """Whether models may be registered and unregistered while the server runs."""
        return self._settings.enable_model_api

    # --- looking -----------------------------------------------------------------------------------------

    def page(self, page: Page) -> dict[str, Any]:
        """A page of the models' names and URLs."""
        limit = page.limit if 0 <= page.limit <= _MAX_PAGE else _MAX_PAGE
        names = sorted(self._models.names())
        end = page.start + limit
        body: dict[str, Any] = {"nextPageToken": str(end)} if limit and end < len(names) else {}
        body["models"] = [
            {"modelName": name, "modelUrl": self._models.find(name).about.url}
            for name in names[page.start : end]
        ]
        return body

    async def describe(
        self, name: str, version: str | None, *, customized: bool, request_id: str, origins: bool = False
    ) -> list[Description]:
        """A version (None: the default one), or `all`; `customized` asks the handler of the one as well,
        `origins` says who says what holds.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
            ServiceUnavailable, TorchkeeperError: its handler could not be asked.
        """
        if version == "all":
            return [
                describe(found, origins=origins, pss=await _pss(found))
                for found in self._models.versions(name)
            ]
        found = self._models.find(name, version)
        metadata = await self._metadata(request_id, found, version) if customized else None
        return [describe(found, metadata, origins=origins, pss=await _pss(found))]

    async def _metadata(self, request_id: str, found: ModelVersion, version: str | None) -> dict[str, Any]:
        """What the handler says of itself; nothing where it says no mapping."""
        try:
            asked = self._ask.whole(found.name, version, Input(request_id, Kind.DESCRIBE, (), {}))
            reply = await asked.answer()
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
            json_text(said)
        except (ValueError, OverflowError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}

    def ready(self, name: str) -> tuple[str, bool]:
        """A model's name, and whether its default version has workers that serve.

        Raises:
            ModelNotFound: it is not here.
        """
        found = self._models.find(name)
        return found.name, found.loaded_workers() > 0

    # --- changing ----------------------------------------------------------------------------------------

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Carries a change out to its end, also when whoever asked for it leaves."""
        task = self._begun(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def register(self, wanted: Registration) -> Change:
        """Registers a version and starts its workers.

        Raises:
            BadRequest, ModelNotAt, DownloadFailed, FileExists, ArchiveError, Conflict: it cannot be.
            StartFailed: its workers, which were to be waited for, cannot load it.
        """
        if wanted.url is None:
            raise BadRequest("Parameter url is required.")
        return await self._whole(self._register(wanted, wanted.url))

    async def _register(self, wanted: Registration, url: str) -> Change:
        found = await self._models.register(
            Wish(
                url=url,
                name=wanted.model_name or None,
                handler=wanted.handler or None,
                given=from_request(msgspec.structs.asdict(wanted)),
                signed=wanted.s3_sse_kms,
            )
        )
        workers = found.min_workers
        said = f'Model "{found.name}" Version: {found.version} registered with {workers} initial workers'
        if workers == 0:
            await self._changed()
            return Change(f"{said}. Use scale workers API to add workers for the model.")
        if not wanted.synchronous:
            await self._changed()
            return Change(PROCESSING, complete=False)
        await self._settled(found)
        return Change(said)

    async def _settled(self, found: ModelVersion) -> None:
        """Waits for a new version's workers; one that cannot load is unregistered again."""
        try:
            await self._models.settle(found)
        finally:
            await self._changed()

    async def load(self, name: str) -> None:
        """Registers the model store's archive of a name, unless it is here, and waits for its workers.

        Raises:
            ModelNotFound: there is none.
            ArchiveError: it cannot be registered.
            StartFailed: its workers cannot load it.
        """
        await self._whole(self._load(name))

    async def _load(self, name: str) -> None:
        if name not in self._models.names():
            with contextlib.suppress(Conflict):  # somebody else has registered it meanwhile
                await self._settled(await self._models.register_from_store(name))
                return
        found = self._models.find(name)
        cause = await found.pool.settled()
        if cause is not None:
            raise StartFailed(found.name, found.version, cause)

    async def unload(self, name: str) -> None:
        """Takes all versions of a model away, the default one last.

        Raises:
            ModelNotFound: it is not here.
            CleaningTimedOut: they are gone, but not all that they had taken was answered.
        """
        await self._whole(self._unload(name))

    async def _unload(self, name: str) -> None:
        default = self._models.find(name)
        late: CleaningTimedOut | None = None
        try:
            for found in sorted(self._models.versions(name), key=lambda found: found is default):
                try:
                    await self._models.take_down(found, self._settings.unregister_model_timeout)
                except CleaningTimedOut as error:
                    late = error
        finally:
            await self._changed()
        if late is not None:
            raise late

    async def scale(self, name: str, version: str | None, wanted: Scale) -> Change:
        """Sets how many workers a version (None: the default one) has.

        Raises:
            BadRequest: max_worker is below min_worker.
            ModelNotFound, ModelVersionNotFound: it is not here.
            StartFailed: a worker, which was to be waited for, cannot load the model.
        """
        low = wanted.min_worker
        high = low if wanted.max_worker is None else wanted.max_worker
        if high < low:
            raise BadRequest("max_worker cannot be less than min_worker.")
        found = self._models.find(name, version)
        if not wanted.synchronous:
            self._begun(self._scaled(found, low, high)).add_done_callback(_log_failure)
            return Change(PROCESSING, complete=False)
        await self._whole(self._scaled(found, low, high))
        cause = await found.pool.settled()
        if cause is not None:
            raise StartFailed(found.name, found.version, cause)
        said = f"Workers scaled to {low} for model: {found.name}"
        return Change(said if version is None else f"{said}, version: {version}")

    async def _scaled(self, found: ModelVersion, low: int, high: int) -> None:
        await found.scale(low, high)
        await self._changed()

    async def set_default(self, name: str, version: str) -> Change:
        """Makes a version the default one.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
        """
        self._models.set_default(name, version)
        await self._changed()
        return Change(f'Default version successfully updated for model "{name}" to "{version}"')

    async def unregister(self, name: str, version: str | None) -> Change:
        """Takes a version (None: the default one) away.

        Raises:
            ModelNotFound, ModelVersionNotFound, InvalidModelVersion: it cannot be.
            CleaningTimedOut: it is gone, but not all that it had taken was answered.
        """
        await self._whole(self._unregister(name, version))
        return Change(f'Model "{name}" unregistered')

    async def _unregister(self, name: str, version: str | None) -> None:
        try:
            await self._models.unregister(name, version, self._settings.unregister_model_timeout)
        except CleaningTimedOut:  # it is gone all the same
            await self._changed()
            raise
        await self._changed()

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Ends what still runs in the background."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Says how a change failed that nobody waits for any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a change of the models failed: %s", error, exc_info=error)


def json_text(value: object) -> bytes:
    """JSON as the server itself answers it: two spaces, a trailing newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


async def _pss(found: ModelVersion) -> dict[Worker, int]:
    """What memory a version's workers have, where they share the model; in a thread, for the kernel looks at
    each page.
    """
    if not found.pool.sharing.weights.get("shared"):
        return {}
    workers = found.pool.workers
    return await offload(LONG, lambda: {worker: worker.proportional for worker in workers})
