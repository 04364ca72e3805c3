"""The models that this server holds: names, versions, and which version is the default.

Owns the registry and puts a version's queue, policy, dispatcher and pool together. Archives are unpacked in
a thread, so that no request waits for a disk.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from torchkeeper.archive import Archive, open_archive
from torchkeeper.engine.batching import make_policy
from torchkeeper.engine.dispatch import Dispatcher, Rules
from torchkeeper.engine.queue import EntryQueue
from torchkeeper.errors import ArchiveError, ModelNotFound, ModelVersionNotFound
from torchkeeper.messages import ModelSpec, Sample
from torchkeeper.metrics.system import cpu_count, gpu_count
from torchkeeper.model_config import ModelConfig, ResolvedModelConfig, parse_model_config, resolve
from torchkeeper.settings import Settings
from torchkeeper.worker.pool import Plan, Pool
from torchkeeper.worker.process import Launch, Launcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelVersion:
    """One version that is being served."""

    name: str
    version: str
    dispatcher: Dispatcher
    pool: Pool


@dataclass(frozen=True)
class Sinks:
    """Where what workers print and record goes."""

    line: Callable[[str, str, str], None]
    sample: Callable[[Sample], None]


class Models:
    """All models, by name and version."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], launcher: Launcher, sinks: Sinks
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._launcher = launcher
        self._sinks = sinks
        self._versions: dict[str, dict[str, ModelVersion]] = {}
        self._defaults: dict[str, str] = {}
        self._ports = itertools.count(settings.initial_worker_port)
        self._unpacked = Path(tempfile.mkdtemp(prefix="torchkeeper-models-", dir=settings.temp_dir))

    # --- look-ups ----------------------------------------------------------------------------------------

    def find(self, name: str, version: str | None = None) -> ModelVersion:
        """The version asked for, or the model's default one.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
        """
        versions = self._versions.get(name)
        if versions is None:
            raise ModelNotFound(name)
        found = versions.get(version if version is not None else self._defaults[name])
        if found is None:
            raise ModelVersionNotFound(name, str(version))
        return found

    def names(self) -> tuple[str, ...]:
        """The names of all models, in the order they were registered."""
        return tuple(self._versions)

    def healthy(self) -> bool:
        """TorchServe's /ping: every default version has no worker that was given up."""
        for name in self._versions:
            workers = self.find(name).pool.workers
            if any(worker.life.state.value == "given up" for worker in workers):
                return False
        return True

    # --- loading and stopping ----------------------------------------------------------------------------

    async def load_at_start(self, name: str | None, url: str) -> None:
        """Registers a start-up model; one that cannot be read is a warning, and the server goes on."""
        try:
            await self.register(name, url)
        except (ArchiveError, OSError) as error:
            logger.warning("Failed to load model: %s: %s", url, error)

    async def register(self, name: str | None, url: str) -> ModelVersion:
        """Reads an archive of the model store and starts its workers.

        Raises:
            ArchiveError: the archive cannot be read or lies outside the store.
        """
        path = self._locate(url)
        archive = await asyncio.to_thread(open_archive, path, self._unpacked / uuid.uuid4().hex)
        manifest = archive.manifest
        name = name or manifest.model_name or path.name.split(".")[0]
        version = manifest.model_version
        if version in self._versions.get(name, {}):
            raise ArchiveError(f"Model version {version} is already registered for model {name}")
        found = self._assemble(name, version, path, archive)
        self._versions.setdefault(name, {})[version] = found
        self._defaults.setdefault(name, version)
        return found

    async def stop(self, deadline: float) -> None:
        """Stops all workers and removes what was unpacked."""
        pools = [found.pool for versions in self._versions.values() for found in versions.values()]
        await asyncio.gather(*(pool.stop(deadline) for pool in pools))
        shutil.rmtree(self._unpacked, ignore_errors=True)

    def _locate(self, url: str) -> Path:
        store: Path | None = self._settings.model_store
        if store is None:
            raise ArchiveError(f"{url}: no model store is set (--model-store)")
        if url.startswith(("http://", "https://", "file://", "s3://")):
            raise ArchiveError(
                f"{url}: models are taken from the model store only; copy the archive to {store}"
            )
        path = (store / url).resolve()
        if store.resolve() not in path.parents:
            raise ArchiveError(f"{url}: outside the model store {store}")
        if not path.exists():
            raise ArchiveError(f"Model not found in model store: {url}")
        return path

    # --- putting a version together ----------------------------------------------------------------------

    def _assemble(self, name: str, version: str, path: Path, archive: Archive) -> ModelVersion:
        settings = self._settings
        config = self._read_config(archive)
        entry = settings.models.get(name, {}).get(version)
        resolved = resolve(config, entry, settings)
        devices = self._devices(resolved)
        count = resolved.min_workers or settings.default_workers_per_model or len(devices) or cpu_count()
        spec = self._spec(name, version, archive, resolved)
        specs = [
            msgspec.structs.replace(
                spec, gpu_id=devices[number % len(devices)] if devices else None, threads=self._threads(count)
            )
            for number in range(count)
        ]
        rules = Rules(
            resolved.response_timeout,
            resolved.client_timeout / 1000,
            resolved.retry_on_worker_death,
            resolved.use_job_ticket,
        )
        policy = make_policy(resolved.batch_policy, resolved.batch_size, resolved.max_batch_delay)
        dispatcher = Dispatcher(
            rules,
            EntryQueue(resolved.job_queue_size),
            policy,
            lambda explicit: refusal_text(name, version, explicit),
        )
        dispatcher.on_sample = self._sinks.sample
        plan = Plan(
            f"{name}_{version}",
            resolved.startup_timeout,
            resolved.max_retry_timeout,
            settings.max_response_size,
            self._launch(name, self._threads(count), resolved),
        )
        pool = Pool(plan, self._launcher, dispatcher, self._sinks.line, lambda: next(self._ports))
        dispatcher.attach(pool)
        logger.info("model %s version %s from %s: %d workers", name, version, path.name, count)
        pool.start(specs)
        return ModelVersion(name, version, dispatcher, pool)

    def _spec(self, name: str, version: str, archive: Archive, resolved: ResolvedModelConfig) -> ModelSpec:
        settings = self._settings
        handler = archive.manifest.handler or settings.default_service_handler
        if not handler:
            raise ArchiveError(f"{archive.model_dir}: the manifest names no handler")
        return ModelSpec(
            name=name,
            version=version,
            model_dir=str(archive.model_dir.resolve()),
            manifest=archive.raw_manifest,
            handler=handler,
            envelope=settings.service_envelope or archive.manifest.envelope,
            gpu_id=None,
            batch_size=resolved.batch_size,
            threads=1,
            limit_max_image_pixels=settings.limit_max_image_pixels,
            decode_input_request=settings.decode_input_request,
            model_config=resolved.raw,
        )

    def _read_config(self, archive: Archive) -> ModelConfig:
        name = archive.manifest.config_file
        if not name:
            return ModelConfig()
        path = archive.model_dir / name
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            logger.error("%s cannot be read, defaults are used: %s", name, error)
            return ModelConfig()
        config, warnings = parse_model_config(text, name)
        for warning in warnings:
            logger.warning("%s", warning)
        return config

    def _devices(self, resolved: ResolvedModelConfig) -> list[int]:
        if resolved.device_type == "cpu":
            return []
        count = gpu_count(self._environ.get("CUDA_VISIBLE_DEVICES"), self._settings.number_of_gpu)
        wanted = [device for device in resolved.device_ids or () if device < count]
        return wanted if wanted and len(wanted) == len(resolved.device_ids or ()) else list(range(count))

    def _threads(self, workers: int) -> int:
        return max(cpu_count() // workers, 1)

    def _launch(self, name: str, threads: int, resolved: ResolvedModelConfig) -> Launch:
        own = None if "OMP_NUM_THREADS" in self._environ else threads
        return Launch(name, own, self._environ, resolved.preload)


def refusal_text(name: str, version: str, explicit: bool) -> str:
    """TorchServe's one sentence for every kind of refusal, stray quote included; clients match on it."""
    model = f'Model "{name}" Version {version}"' if explicit else f'Model "{name}"'
    return (
        f"{model} has no worker to serve inference request. Please use scale workers API to add workers. "
        "If this is a sequence inference, please check if it is closed, or expired;"
        " or exceeds maxSequenceJobQueueSize"
    )


def worker_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of template and workers: the server's, less what blacklist_env_vars withholds."""
    withheld = settings.blacklist_env_vars
    return {
        name: value for name, value in environ.items() if withheld is None or not withheld.fullmatch(name)
    }
