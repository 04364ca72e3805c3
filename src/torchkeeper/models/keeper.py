"""Snapshots and the registry: what is served is written down after each change, and restored at a start."""

from __future__ import annotations

import asyncio
import logging

from torchkeeper.archive.startup import snapshot_models
from torchkeeper.config.model_snapshot import VersionSnapshot
from torchkeeper.config.settings import Settings
from torchkeeper.config.snapshot import SnapshotKind, Snapshots, snapshot_folder
from torchkeeper.errors import AsksForMissing
from torchkeeper.machine.threads import NoThread, in_thread
from torchkeeper.models.registry import Models, Wish
from torchkeeper.models.version import ModelVersion

logger = logging.getLogger(__name__)


class Keeper:
    """Keeps the models of one server."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models
        self._snapshots = Snapshots(snapshot_folder(settings.log_location))
        self._saving = asyncio.Lock()

    async def restore(self) -> None:
        """Registers what the configuration's snapshot names; nothing without one.

        Raises:
            TorchkeeperError, OSError: a model cannot be had or read.
        """
        for kept in snapshot_models(self._settings):
            wish = Wish(kept.mar_name, kept.name, given=kept.given, at_startup=True)
            try:
                found = await self._models.register(wish)
            except AsksForMissing as error:  # the snapshot may be TorchServe's
                self._models.missed(wish.name, wish.url, error)
                continue
            if found.version != kept.version:
                logger.warning(
                    "the snapshot's version %s of model %s is now version %s: that is what %s holds",
                    *(kept.version, kept.name, found.version, kept.mar_name),
                )
            if kept.default_version:
                self._models.set_default(found.name, found.version)

    async def changed(self) -> None:
        """What is served has changed; during a start nothing is written: what is half up is nobody's wish."""
        if not self._models.starting:
            await self.save("snapshot")

    async def save(self, kind: SnapshotKind) -> None:
        """Writes a snapshot of what is served now; one at a time, in their order."""
        async with self._saving:
            kept = [self._kept(found) for found in self._models]
            try:
                await in_thread(lambda check: self._snapshots.save(kind, self._settings, kept))
            except NoThread as error:  # what has changed has changed
                logger.error("the snapshot cannot be written: %s", error.strerror)

    def _kept(self, found: ModelVersion) -> VersionSnapshot:
        return VersionSnapshot.of(
            found.name,
            found.version,
            found.about.mar_name,
            default_version=self._models.default_version(found.name) == found.version,
            values=found.values(),
        )
