"""Puts a model version together: its configuration, queue, policy, dispatcher and pool.

Reads what an archive says; starts nothing. Owns the devices' round-robin, which all models share.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from torchkeeper.archive.archive import Archive
from torchkeeper.archive.requirements import Place, install
from torchkeeper.config import batch_rules
from torchkeeper.config.intel import pinning, wished_execution
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_settings import GivenSettings, ModelSettings
from torchkeeper.config.settings import Settings, secret_variables
from torchkeeper.engine.batching.policies import make_policy
from torchkeeper.engine.dispatch import Dispatcher
from torchkeeper.engine.weighing import weigher
from torchkeeper.errors import ArchiveError, AsksForMissing, RequirementsFailed, system_error
from torchkeeper.machine.cores import shares_left, usable_cores
from torchkeeper.machine.hardware import another_machine, cpu_count, features_of_speed
from torchkeeper.machine.ownership import give
from torchkeeper.machine.threads import in_thread
from torchkeeper.metrics.instruments import Meter
from torchkeeper.models.sandboxing import own_files, sandbox_of
from torchkeeper.models.version import About, ModelVersion
from torchkeeper.pool.launcher import Launch, Launcher
from torchkeeper.pool.plan import Plan
from torchkeeper.pool.pool import Pool
from torchkeeper.wire import features
from torchkeeper.wire.entry_point import HandlerText, asynchronous_entry, read_handler_text
from torchkeeper.wire.execution import AS_IT_IS, Execution
from torchkeeper.wire.messages import Declared, ModelSpec, Sample
from torchkeeper.wire.yaml_text import MAX_LENGTH

logger = logging.getLogger(__name__)

#: Bytes of a handler's source that are looked through here, where requests are served meanwhile.
_LOOKED_THROUGH = 256 * 1024


@dataclass(frozen=True)
class Sinks:
    """Where what workers print and record goes, and what measures them."""

    line: Callable[[str, str, str], None]
    sample: Callable[[Sample], None]
    #: A meter for a version, by its name, version and batch size.
    meter: Callable[[str, str, int], Meter] = lambda name, version, batch_size: Meter()
    #: The metrics that handlers find declared.
    declared: tuple[Declared, ...] = ()


class Builder:
    """Makes model versions from archives."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        launcher: Launcher,
        sinks: Sinks,
        gpus: int = 0,
    ) -> None:
        """`environ` is what workers get, `gpus` the number of GPUs that they may use."""
        if settings.sandbox != "off" and settings.user is None and os.geteuid() == 0:
            logger.warning("workers are root, as the server is: worker_user names who they are to be")
        self._own = own_files(settings, Path.cwd())
        self._settings = settings
        self._environ = environ
        self._launcher = launcher
        self._sinks = sinks
        self._gpus = gpus
        self._pinning = pinning(settings.cpu_launcher_enable, settings.cpu_launcher_args)
        self._cores = usable_cores(self._pinning.node) if self._pinning else ()
        self._ports = itertools.count(settings.initial_worker_port)
        self._next_device = itertools.count()

    def read_config(self, archive: Archive, model: str) -> GivenSettings:
        """The archive's model-config.yaml; one that cannot be read is an error in the log, and empty.

        What the operator says of the model of that name, in a file, takes the place of keys of it.

        Raises:
            SystemFailed: the machine fails.
        """
        name = archive.manifest.config_file or "model-config.yaml"
        over = self._settings.model_configs.get(model)
        config, warnings = parse_model_config(self._config_text(archive), name, over)
        for warning in warnings:
            logger.warning("%s", warning)
        return config

    def _config_text(self, archive: Archive) -> str:
        name = archive.manifest.config_file
        if not name:
            return ""
        try:
            with (archive.model_dir / name).open() as file:
                return file.read(MAX_LENGTH + 1)  # what is longer is refused
        except (OSError, UnicodeDecodeError) as error:
            # A model must not be served with other settings because the machine failed for a moment.
            if (failed := system_error(error, f"{name} cannot be read")) is not None:
                raise failed from error
            logger.error("%s cannot be read, defaults are used: %s", name, error)
            return ""

    def default_workers(self, config: ModelSettings) -> int:
        """Workers of a start-up model that names no number: the setting's, one per GPU, or one per core.

        Where the model is to answer one request soon, a single worker has all cores.
        """
        wanted = config.execution or AS_IT_IS
        cores = 1 if wanted.hint == "latency" else cpu_count()
        return self._settings.default_workers_per_model or len(self._devices(config)) or cores

    def check(self, about: About, archive: Archive, handler: str | None) -> None:
        """Refuses a model that asks for what is not here.

        Raises:
            AsksForMissing: it does; the text says for what, and what to do instead.
            ArchiveError: its `execution` cannot be read, which is not passed over; or its handler's code
                would not be the archive's, which alone was signed.
        """
        absent = [
            f"execution.warmup: the archive has no file {name}"
            for name in (about.config.execution or AS_IT_IS).warmup
            if not (archive.model_dir / name).is_file()
        ]
        envelope = self._settings.service_envelope
        unread = batch_rules.unreadable(about.config.batch_cost, about.config.batch_by, envelope)
        if refused := (*about.config.refused, *absent, *(() if unread is None else (unread,))):
            raise ArchiveError(f"{about.url}: {'. '.join(refused)}")
        named = read_handler_text(self._handler(archive, handler) or "")
        if self._settings.verify_models == "require":
            _check_inside(about, named, archive.model_dir)
        brought = named.file(archive.model_dir)
        missing = (
            features.missing_runtime(about.runtime),
            features.missing_handler(named.module) if brought is None else _asynchronous(brought, named),
            *features.missing_in_config(about.config.raw),
        )
        if said := [one.sentence for one in missing if one is not None]:
            raise AsksForMissing(f"{about.url}: {'. '.join(said)}")

    async def prepare(self, about: About, archive: Archive) -> str | None:
        """Installs what the archive needs, if the server allows it; returns the interpreter for its workers.

        What was unpacked and installed is the workers' user's then, if they have one of their own.

        Raises:
            RequirementsFailed: it cannot be installed, or must not be: the archive is a folder of the store.
        """
        python = await self._install(about, archive)
        user, folder = self._settings.user, archive.model_dir
        if user is not None and about.owns(folder):
            await in_thread(lambda check: give(folder, user.uid, user.gid, check))
        return python

    async def _install(self, about: About, archive: Archive) -> str | None:
        wanted = archive.manifest.requirements_file
        if not wanted or not self._settings.install_py_dep_per_model:
            return None
        if not about.owns(archive.model_dir):
            raise RequirementsFailed(
                about.name, "packages are not installed into a folder of the model store"
            )
        requirements = archive.model_dir / wanted
        place = Place(about.name, archive.model_dir, requirements, about.config.use_venv, self._environ)
        label = f"pip-{about.name}_{about.version}"
        return await install(place, lambda line: self._sinks.line(label, "stdout", line))

    def build(
        self, about: About, archive: Archive, handler: str | None, python: str | None = None
    ) -> ModelVersion:
        """A version without workers yet; `python` is the interpreter of its workers, if not the server's.

        Raises:
            ArchiveError: nobody names a handler, or workers cannot be told of it.
        """
        config = about.config
        if unlike := another_machine(config.tuned_for or {}, cpu_count(), features_of_speed()):
            logger.warning(
                "model %s: %s; torchkeeper tune finds the settings for this machine", about.name, unlike
            )
        spec = self._spec(about, archive, handler)
        dispatcher = Dispatcher(
            config,
            self._settings.max_response_size,
            make_policy(config),
            lambda explicit: refusal_text(about.name, about.version, explicit),
            lambda: self._sinks.meter(about.name, about.version, config.most_in_batch),
            self._sinks.sample,
            weigher(config, self._settings.service_envelope),
        )
        sandbox = sandbox_of(self._settings, config, Path(spec.model_dir), self._own)
        devices = self._devices(config)
        plan = Plan(
            f"{about.name}_{about.version}",
            config,
            self._settings.max_response_size,
            Launch(about.name, None, self._environ, config.preload, python, sandbox),
            self._settings.strict_statuses,
            on_gpu=bool(devices),
        )
        pool = Pool(plan, self._launcher, dispatcher, self._sinks.line, lambda: next(self._ports))
        return ModelVersion(
            about,
            dispatcher,
            pool,
            lambda there, total: self._specs(spec, devices, there, total),
            on_gpu=bool(devices),
        )

    def _specs(
        self, spec: ModelSpec, devices: list[int], there: Sequence[ModelSpec], total: int
    ) -> list[ModelSpec]:
        each = self._pinning.each if self._pinning else None
        if self._cores:
            shares = shares_left(self._cores, [one.cores for one in there], total, each)
        else:
            shares = [()] * (total - len(there))
        return [
            msgspec.structs.replace(
                spec,
                gpu_id=devices[next(self._next_device) % len(devices)] if devices else None,
                threads=self._threads(spec, total, each, len(cores)),
                cores=cores,
            )
            for cores in shares
        ]

    def _threads(self, spec: ModelSpec, total: int, each: int | None, cores: int) -> int | None:
        """Those of a worker that is one of `total`: no more than the cores that it is pinned to, if it is."""
        if spec.execution.threads is not None or "OMP_NUM_THREADS" in self._environ:
            return spec.execution.threads
        return min(each or max(cpu_count() // total, 1), cores or cpu_count())

    def _spec(self, about: About, archive: Archive, handler: str | None) -> ModelSpec:
        settings = self._settings
        handler = self._handler(archive, handler)
        if not handler:
            why = "Neither the request nor default_service_handler names a handler"
            raise ArchiveError(f"{about.url}: {archive.unhandled} {why}")
        spec = ModelSpec(
            name=about.name,
            version=about.version,
            ignored_requirements=None
            if settings.install_py_dep_per_model
            else archive.manifest.requirements_file,
            model_dir=str(archive.model_dir.resolve()),
            manifest=archive.raw_manifest,
            handler=handler,
            envelope=settings.service_envelope,
            gpu_id=None,
            batch_size=about.config.most_in_batch,
            auto_batches=about.config.auto_batches,
            threads=None,
            limit_max_image_pixels=settings.limit_max_image_pixels,
            max_image_pixels=settings.max_image_pixels if settings.limit_max_image_pixels else None,
            decode_input_request=settings.decode_input_request,
            nan_in_answers=settings.nan_in_answers,
            model_config=about.config.raw,
            split_failed_batches=about.config.split_failed_batches,
            response_timeout=about.config.response_timeout,
            metrics=self._sinks.declared,
            execution=about.config.execution or AS_IT_IS,
            wished=self._wished(about.config),
            unpacked=about.owns(archive.model_dir),
            compile_cache_max_bytes=settings.compile_cache_max_bytes,
            # A strict sandbox has no compiler, and is to read no other model's code.
            compile_cache=str(settings.kept_code or "") if about.config.sandbox != "strict" else "",
        )
        try:
            msgspec.msgpack.encode(spec)
        except (OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ArchiveError(f"{about.url}: its manifest cannot be handed to workers: {error}") from None
        return spec

    def _wished(self, config: ModelSettings) -> Execution:
        """What the operator wishes for, where the archive says nothing of how the model runs."""
        says = config.execution is not None or config.raw.get("pt2")
        return AS_IT_IS if says else wished_execution(self._settings.ipex_enable)

    def _handler(self, archive: Archive, asked: str | None) -> str | None:
        """Who handles requests: what the registration says, else the archive, else the setting."""
        return asked or archive.manifest.handler or self._settings.default_service_handler

    def _devices(self, config: ModelSettings) -> list[int]:
        if config.device_type == "cpu":
            return []
        count = self._gpus
        wanted = [device for device in config.device_ids or () if device < count]
        return wanted if wanted and len(wanted) == len(config.device_ids or ()) else list(range(count))


def _check_inside(about: About, handler: HandlerText, model_dir: Path) -> None:
    """Refuses a handler whose folder is not the archive's: nobody has signed what lies there."""
    home = model_dir.resolve()
    for folder in handler.folders(model_dir):
        if not folder.resolve().is_relative_to(home):
            where = f"its handler lies in {handler.folder}, outside of the signed archive"
            raise ArchiveError(f"{about.url} is refused: {where} (verify_models=require)")


def _asynchronous(file: Path, handler: HandlerText) -> features.Missing | None:
    """What the archive's own handler would need, were it asynchronous; the workers look at a long one."""
    try:
        source = file.read_bytes()
        if len(source) > _LOOKED_THROUGH:
            kept = _LOOKED_THROUGH // 1024
            logger.warning(
                "%s is over %d KB: whether it is asynchronous, its workers will say", file.name, kept
            )
            return None
        entry = asynchronous_entry(source, handler.function)
    except OSError:
        return None  # its workers will say why
    return features.missing_asynchronous(entry) if entry else None


def refusal_text(name: str, version: str, explicit: bool) -> str:
    """TorchServe's one sentence for every kind of refusal, stray quote included; clients match on it."""
    model = f'Model "{name}" Version {version}"' if explicit else f'Model "{name}"'
    return (
        f"{model} has no worker to serve inference request. Please use scale workers API to add workers. "
        "If this is a sequence inference, please check if it is closed, or expired;"
        " or exceeds maxSequenceJobQueueSize"
    )


def worker_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of template and workers: the server's, less its secrets and blacklist_env_vars.

    Where signatures are looked at, they write no bytecode: in a signed folder it would be a file too many.
    """
    withheld, secret = settings.blacklist_env_vars, secret_variables()
    clean = {} if settings.verify_models == "off" else {"PYTHONDONTWRITEBYTECODE": "1"}
    return {
        name: value
        for name, value in environ.items()
        if name not in secret and (withheld is None or not withheld.fullmatch(name))
    } | clean
