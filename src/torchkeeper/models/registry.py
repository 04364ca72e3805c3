"""The registry: which models this server holds, which versions, and which version is the default.

Owns the names. Registering reads archives in threads, so that no request waits for a disk or a network; a
version appears only when it is complete, and is gone for new requests before it is taken down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from torchkeeper.archive.archive import NAME_PATTERN, Archive, Manifest, open_archive
from torchkeeper.archive.signatures import Provenance, Verifier
from torchkeeper.archive.source import Fetched, source_of
from torchkeeper.archive.store import SIGNATURE, name_of
from torchkeeper.config.model_settings import RUNTIMES, GivenSettings, ModelSettings, resolve
from torchkeeper.config.settings import Settings
from torchkeeper.errors import (
    ArchiveError,
    AsksForMissing,
    BadRequest,
    CleaningTimedOut,
    Conflict,
    InvalidModelVersion,
    ModelNotFound,
    ModelVersionNotFound,
    RequirementsFailed,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
    system_error,
)
from torchkeeper.machine.threads import Check, at_any_rate, in_thread
from torchkeeper.models.builder import Builder
from torchkeeper.models.unpacked import Unpacked
from torchkeeper.models.version import About, ModelVersion
from torchkeeper.pool.worker import Refusal
from torchkeeper.wire.features import missing_archive, missing_runtime

logger = logging.getLogger(__name__)

#: Characters of a name.
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Wish:
    """What a registration asks for; None where it leaves the choice to the archive and the settings."""

    url: str
    name: str | None = None
    handler: str | None = None
    #: What it says of the model's settings.
    given: GivenSettings = field(default_factory=GivenSettings)
    #: Ask S3's https addresses with signed requests.
    signed: bool = False
    at_startup: bool = False
    #: Start workers, as at start-up, where neither the request nor the archive says how many.
    serve: bool = False


ENDING = Refusal("the server is ending")


class Models:
    """All models, by name and version."""

    def __init__(self, settings: Settings, builder: Builder) -> None:
        self._settings = settings
        self._builder = builder
        self._source = source_of(settings)
        self._verifier = Verifier(settings)
        self._versions: dict[str, dict[str, ModelVersion]] = {}
        self._defaults: dict[str, str] = {}
        #: Whether start-up models are still to come.
        self.starting = False
        #: Whether the server ends: what it has is served, but nobody is to come any more.
        self.ending = False
        #: Start-up models that could not be read, by the name (if one was given) and URL, and why.
        self._failed: dict[tuple[str | None, str], Exception] = {}
        self._unpacked = Unpacked(settings.temp_dir, passable=settings.user is not None)

    # --- look-ups ----------------------------------------------------------------------------------------

    def find(self, name: str, version: str | None = None) -> ModelVersion:
        """The version asked for, or the model's default one.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
            ServiceUnavailable: what it requires could not be installed at start.
        """
        versions = self._versions.get(name)
        if versions is None:
            raise self._missing(name)
        found = versions.get(version if version is not None else self._defaults[name])
        if found is None:
            raise ModelVersionNotFound(name, str(version))
        return found

    def _missing(self, name: str) -> TorchkeeperError:
        """Why a model is not here, if it should be since the start."""
        for (given, url), error in self._failed.items():
            if name == (given or name_of(url)):
                said = error.text if isinstance(error, TorchkeeperError) else str(error)
                why = f"it could not be loaded at start: {said}"
                if isinstance(error, RequirementsFailed):
                    return ServiceUnavailable(f"Model {name} cannot be served.", cause=why)
                return ModelNotFound(name, why)
        return ModelNotFound(name)

    def names(self) -> tuple[str, ...]:
        """The names of all models, in the order they were registered."""
        return tuple(self._versions)

    def default_version(self, name: str) -> str:
        """The default version of a model that is here."""
        return self._defaults[name]

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a model.

        Raises:
            ModelNotFound: it is not here.
        """
        if name not in self._versions:
            raise ModelNotFound(name)
        return tuple(self._versions[name].values())

    def __iter__(self) -> Iterator[ModelVersion]:
        for versions in self._versions.values():
            yield from versions.values()

    def healthy(self) -> bool:
        """What /ping says: that the server lives; with `ping_models` TorchServe's rule holds as well.

        By that no default version may have given workers up, and one broken model is the whole server's end
        where a probe of life asks /ping.
        """
        return not self._settings.ping_models or all(self.find(name).healthy() for name in self._versions)

    def unready(self) -> list[str]:
        """Why not every start-up model serves as it should, in sentences; empty when all do."""
        found = [ENDING.cause] if self.ending else []
        found += ["models are still to be read"] if self.starting else []
        found += [
            f"model {url} could not be loaded at start: {why}" for (_, url), why in self._failed.items()
        ]
        for version in self:
            if version.about.at_startup and version.loaded_workers() < version.min_workers:
                found.append(f"model {version.name} {version.version}: {version.readiness()}")
        return found

    # --- changes -----------------------------------------------------------------------------------------

    async def clean_up(self) -> None:
        """Removes what servers that were killed have left in the model store."""
        await in_thread(lambda check: self._source.sweep())

    async def load_at_start(self, name: str | None, url: str) -> None:
        """Registers a start-up model; one that cannot be read is a warning, and the server goes on.

        So is one whose name and version are there already, as in TorchServe; nobody misses that one.
        """
        try:
            await self.register(Wish(url, name, at_startup=True))
        except Conflict as error:
            logger.warning("Failed to load model: %s: %s", url, error)
        except (TorchkeeperError, OSError) as error:
            self.missed(name, url, error)

    def missed(self, name: str | None, url: str, error: Exception) -> None:
        """A start-up model is not there, and the server goes on without it; it is not ready until it is."""
        logger.warning("Failed to load model: %s: %s", url, error)
        self._failed[name, url] = error

    async def register_from_store(self, name: str) -> ModelVersion:
        """Registers the model store's archive or folder of a name under that name, with workers.

        Raises:
            ModelNotFound: there is none.
            DownloadFailed, ArchiveError, Conflict: as `register`.
        """
        wanted = await in_thread(lambda check: self._source.named(name))
        if wanted is None:
            raise ModelNotFound(name)
        return await self.register(Wish(wanted, name, serve=True))

    async def register(self, wish: Wish) -> ModelVersion:
        """Reads an archive and starts its workers (they load on their own: see `Pool.settled`).

        Raises:
            ModelNotAt, DownloadFailed, FileExists, ArchiveError: the archive cannot be had or read.
            NoRoom, SystemFailed: the disk has no room for it, or the machine fails.
            AsksForMissing: it asks for what is not here.
            BadRequest: it gives a name or a runtime that cannot be.
            Conflict: that version is here already.
        """
        _check_name(wish.name, strict=self._settings.strict)
        runtime = wish.given.values().get("runtime")
        if runtime is not None and runtime.lower() not in RUNTIMES:
            missing = missing_runtime(runtime)
            raise BadRequest(missing.sentence if missing else f"Invalid RuntimeType value: {runtime}")
        fetched = await in_thread(
            lambda check: self._source.fetch(wish.url, check, signed=wish.signed, at_start=wish.at_startup),
            Fetched.discard,
        )
        folder = self._unpacked.new()
        try:
            archive, config, provenance = await in_thread(
                lambda check: self._read(wish, fetched, folder, check)
            )
            about = replace(
                self._about(wish, fetched.name, archive.manifest, config, (folder, *fetched.brought)),
                provenance=provenance,
            )
            await in_thread(lambda check: self._builder.check(about, archive, wish.handler))
            python = await self._builder.prepare(about, archive)
            self._check_free(about.name, about.version)
            found = self._builder.build(about, archive, wish.handler, python)
            workers = self._workers(wish, about.config)
            fetched.keep()
        except BaseException as error:
            await at_any_rate(lambda: self._undo(folder, fetched))
            if failed := system_error(error, fetched.name):
                raise failed from error
            if isinstance(error, ArchiveError) and fetched.place is not None:
                raise self._source.told(wish.url, error) from error
            raise
        # Nothing below can fail, and nobody else has a turn: a version is here wholly or not at all.
        self._versions.setdefault(found.name, {})[found.version] = found
        self._defaults.setdefault(found.name, found.version)
        self._mend(wish, found.name)
        found.start(workers, max(about.config.max_workers or 0, workers))
        logger.info(
            "model %s version %s from %s: %d workers",
            *(found.name, found.version, fetched.name, found.min_workers),
        )
        return found

    def _undo(self, folder: Path, fetched: Fetched) -> None:
        self._unpacked.remove(folder)
        fetched.discard()

    def _mend(self, wish: Wish, name: str) -> None:
        """A start-up model that failed is there after all: under its name or, if none was given, its URL."""
        if wish.at_startup:
            return
        for given, url in tuple(self._failed):
            if name == (given or name_of(url)) or (given is None and url == wish.url):
                del self._failed[given, url]

    def _read(
        self, wish: Wish, fetched: Fetched, folder: Path, check: Check
    ) -> tuple[Archive, GivenSettings, Provenance | None]:
        if missing := missing_archive(fetched.name):
            raise AsksForMissing(missing.sentence)
        name = Path(fetched.name).name
        with self._verifier.held(fetched.path, fetched.signature, name) as provenance:
            archive = open_archive(fetched.path, folder, check, called=name)
        model = _named(wish, fetched.name, archive.manifest)
        return archive, self._builder.read_config(archive, model), provenance

    def _about(
        self, wish: Wish, mar_name: str, manifest: Manifest, config: GivenSettings, owned: tuple[Path, ...]
    ) -> About:
        name = _named(wish, mar_name, manifest)
        version = manifest.model_version
        self._check_free(name, version)
        configured = self._settings.models.get(name, {}).get(version, GivenSettings())
        resolved = resolve((wish.given, config, configured), self._settings)
        return About(
            name,
            version,
            url=wish.url,
            mar_name=mar_name,
            runtime=resolved.runtime or manifest.runtime,
            config=resolved,
            at_startup=wish.at_startup,
            owned=owned,
        )

    def _check_free(self, name: str, version: str) -> None:
        if version in self._versions.get(name, {}):
            raise Conflict(name, version)

    def _workers(self, wish: Wish, config: ModelSettings) -> int:
        """What is said of the model wins, then the setting."""
        if config.min_workers is not None:
            return config.min_workers
        if wish.at_startup or wish.serve:
            return self._builder.default_workers(config)
        return self._settings.default_workers_per_model

    async def settle(self, found: ModelVersion) -> None:
        """Waits until a newly registered version has loaded.

        Raises:
            StartFailed: it cannot; it is unregistered again.
        """
        cause = await found.pool.settled()
        if cause is not None:
            with contextlib.suppress(CleaningTimedOut):  # others may still load: they are not waited for
                await self.take_down(found, 0.0)
            raise StartFailed(found.name, found.version, cause)

    def set_default(self, name: str, version: str) -> None:
        """Makes a version the one that answers requests without a version.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
        """
        if name not in self._versions:
            raise ModelNotFound(name)
        if version not in self._versions[name]:
            raise ModelVersionNotFound(name, version, for_default=True)
        self._defaults[name] = version

    async def unregister(self, name: str, version: str | None, deadline: float) -> ModelVersion:
        """Takes a version (else the default one) away: what was taken is answered, new requests find nothing.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
            InvalidModelVersion: it is the default one and others stay.
            CleaningTimedOut: answering took longer than `deadline` seconds; it is gone all the same.
        """
        found = self.find(name, version)
        if found.version == self._defaults[name] and len(self._versions[name]) > 1:
            raise InvalidModelVersion(name)
        await self.take_down(found, deadline)
        return found

    async def take_down(self, found: ModelVersion, deadline: float) -> None:
        """Takes this very version away; nothing if that was done already, though its name may be here anew.

        Raises:
            CleaningTimedOut: answering took longer than `deadline` seconds; it is gone all the same.
        """
        versions = self._versions.get(found.name, {})
        if versions.get(found.version) is not found:
            return
        del versions[found.version]
        if not versions:
            del self._versions[found.name], self._defaults[found.name]
        elif self._defaults[found.name] == found.version:
            self._defaults[found.name] = next(iter(versions))
        try:
            await found.close(deadline)
        finally:
            unused = self._unused(found.about.owned)
            await at_any_rate(lambda: self._unpacked.remove(*unused))

    def _unused(self, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        """Those paths that no version was registered from: a download may have been, by its name."""
        store = self._settings.store
        used = {store / f"{found.about.mar_name}{end}" for found in self for end in ("", SIGNATURE)}
        return tuple(path for path in paths if path not in used)

    def abandon(self) -> None:
        """The server ends, and waits for no request any more: all get the answer that there is none."""
        for found in self:
            found.dispatcher.abandon(ENDING)

    async def stop(self, deadline: float) -> None:
        """Stops all workers and removes what was unpacked or is still fetched."""
        for found in self:
            found.stop_autoscaling()
        try:
            await asyncio.gather(*(found.pool.stop(deadline) for found in self))
        finally:
            self._source.close()
            await at_any_rate(self._unpacked.close)


def _named(wish: Wish, mar_name: str, manifest: Manifest) -> str:
    """The name that a registration gives a model."""
    return wish.name or manifest.model_name or name_of(mar_name)


def _check_name(name: str | None, *, strict: bool) -> None:
    """Refuses a name that no URL could say: nobody could ask for the model, or take it away.

    Raises:
        BadRequest: it is one.
    """
    if not name:
        return
    if "/" in name or name in (".", "..") or len(name) > _LONGEST_NAME or not name.isprintable():
        wanted = f"must be at most {_LONGEST_NAME} printable characters without /"
        raise BadRequest(f"Model name {name[:50]!r} {wanted}, and neither . nor ..")
    if strict and not re.fullmatch(NAME_PATTERN, name):
        raise BadRequest(f"Model name {name[:50]!r} must match {NAME_PATTERN} (strict=true)")
