"""All settings as one frozen object, merged once, each value with its origin.

Order, TorchServe's: defaults < config.properties or a snapshot < command line < environment `TS_*` (only with
enable_envvars_config=true, but for tokens). The one module that reads the environment. Light on purpose: a
bad value is reported before anything heavy is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchkeeper.config import kserve_pod as kserve
from torchkeeper.config import sagemaker_container as sagemaker
from torchkeeper.config import vertex_pod as vertex
from torchkeeper.config.config_files import model_configs
from torchkeeper.config.folders import log_location, metrics_location, temp_dir
from torchkeeper.config.kept_code import kept_code_folder
from torchkeeper.config.layers import Layers, Origin, SettingReader, hint
from torchkeeper.config.log_config import LEVELS, LogConfig, LogLevels, parse_log_config
from torchkeeper.config.model_config import ReplacingConfig
from torchkeeper.config.model_key import Told
from torchkeeper.config.pods import exposure, make_room, says_nothing_of_tokens
from torchkeeper.config.properties import parse_properties, properties_text, substitute
from torchkeeper.config.setting_key import Effect
from torchkeeper.config.snapshot import newest_snapshot, snapshot_folder
from torchkeeper.config.table import BY_NAME, KEYS, Configured
from torchkeeper.config.types import bucket_of, is_cloud
from torchkeeper.config.worker_user import worker_user
from torchkeeper.errors import LaunchRefused, SettingsError
from torchkeeper.wire.messages import User

_NAMED = re.compile(r"([^=#/:?]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class CommandLine:
    """What torchserve's flags say; None or False where a flag was not given."""

    ts_config: Path | None = None
    #: A folder, or the URL of one.
    model_store: Path | str | None = None
    workflow_store: Path | None = None
    models: tuple[str, ...] | None = None
    disable_token_auth: bool = False
    insecure: bool = False
    enable_model_api: bool = False
    no_config_snapshots: bool = False
    plugins_path: str | None = None
    cpp_log_config: Path | None = None
    log_config: Path | None = None
    log_level: str | None = None
    sandbox: str | None = None
    kserve: bool = False
    #: NAME=FILE, of each model whose settings a file of the operator's has.
    model_configs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings(Configured):
    """Every setting by its key's name, as an attribute, and where each came from."""

    origins: Mapping[str, Origin]
    log_location: Path
    metrics_location: Path
    temp_dir: Path
    config_file: Path | None = None
    log_levels: LogLevels = field(default_factory=LogLevels)
    #: A configuration for logging.config.dictConfig, from --log-config.
    log_dict: Mapping[str, Any] | None = None
    #: Key -> text of every key that is not at its default and may stand in a file: what a snapshot keeps.
    texts: Mapping[str, str] = field(default_factory=dict)
    #: Whether snapshots are written and restored.
    config_snapshots: bool = True
    #: The folder of a bucket that is the model store; `model_store` is then where its archives are kept.
    store_url: str | None = None
    #: What KServe calls; None outside its pods.
    kserve: kserve.KServePorts | None = None
    #: What Vertex AI calls; None outside its containers.
    vertex: vertex.VertexAi | None = None
    #: Who workers become; None: the server is not root, or nobody said who.
    user: User | None = None
    #: Where workers keep compiled code; None: nowhere.
    kept_code: Path | None = None
    #: Whether predictions need no key although management does.
    open_inference: bool = False
    #: By the models' names, what takes the place of keys of their archives' model-config.yaml.
    model_configs: Mapping[str, ReplacingConfig] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The model store, without which no server starts.

        Raises:
            LaunchRefused: there is none.
        """
        if self.model_store is None:
            raise LaunchRefused("Missing mandatory parameter --model-store")
        return self.model_store


def load_settings(
    arguments: CommandLine, environ: Mapping[str, str], cwd: Path
) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and sentences about what was ignored.

    Raises:
        SettingsError: one line that names key, value and place.
    """
    warnings: list[str] = []
    reader = SettingReader(warnings)
    layers = Layers()
    config_file, beaten = find_config(arguments, environ, cwd)
    if beaten is not None:
        warnings.append(
            f"THE SNAPSHOT {config_file} IS USED, {beaten} IS NOT: a snapshot of an earlier run comes first. "
            "--ncs starts without snapshots, --ts-config config.properties uses the file"
        )
    if config_file is not None:
        _apply_file(layers, config_file, environ, reader)
    _apply_command_line(layers, arguments)
    layers.take_environment(environ)
    layers.be_strict()
    store_url = _store_of(layers, environ)
    origins = {name: origin for name, (_, origin) in layers.texts.items()}
    configured = Configured(**{name: reader.value(name, *pair) for name, pair in layers.texts.items()})
    reader.close(strict=configured.strict_config)
    warnings += [barred] if (barred := layers.barred_urls(environ)) else []
    given = _given(origins)
    opened, open_inference = None, _opens_inference(configured, given, environ)
    if _is_kserve(arguments, environ):
        configured, opened = _for_kserve(configured, origins, warnings, open_inference)
        warnings += [unknown] if (unknown := kserve.unknown_protocol(environ)) else []
    configured = _with_room(configured, origins, sagemaker.called_ports(environ), sagemaker.CALLER)
    configured, vertex_ai = _for_vertex(configured, open_inference, origins, warnings, environ)
    log_config = _log_config(arguments.log_config, environ, cwd)
    warnings += [*_without_effect(origins), *log_config.warnings]
    if configured.model_snapshot is not None and origins["load_models"].kind == "command line":
        warnings.append(
            f"--models is ignored: the snapshot {config_file} says which models are loaded; "
            "--ncs starts without it"
        )
    user = worker_user(configured.worker_user, warnings)
    settings = Settings(
        **vars(configured if store_url is None else replace(configured, model_store=None)),
        origins=origins,
        log_location=log_location(environ, cwd),
        metrics_location=metrics_location(environ, cwd),
        temp_dir=temp_dir(environ),
        config_file=config_file,
        log_levels=_log_levels(arguments, configured, origins, log_config),
        log_dict=log_config.python,
        texts={
            name: text
            for name, (text, origin) in layers.texts.items()
            if origin.kind != "default" and BY_NAME[name].from_file
        },
        config_snapshots=not arguments.no_config_snapshots,
        store_url=store_url,
        kserve=opened,
        vertex=vertex_ai,
        user=user,
        kept_code=kept_code_folder(configured.compile_cache, environ, user, cwd),
        open_inference=open_inference,
        model_configs=model_configs(arguments.model_configs, cwd),
    )
    return settings, tuple(warnings)


def _log_levels(
    arguments: CommandLine, configured: Configured, origins: Mapping[str, Origin], found: LogConfig
) -> LogLevels:
    """Those of the log configuration, where there is one and nobody names the server's."""
    if arguments.log_config is None or origins["log_level"].kind != "default":
        return replace(found.levels, server=LEVELS[configured.log_level])
    return found.levels


def _without_effect(origins: Mapping[str, Origin]) -> list[str]:
    """A sentence for each key that was set and does nothing."""
    said = {Effect.LATER: ": torchkeeper does not have {} yet", Effect.NONE: ": {}"}
    return [
        f"{name} ({origin}) has no effect{said[BY_NAME[name].effect].format(BY_NAME[name].why)}"
        for name, origin in origins.items()
        if BY_NAME[name].effect in said and origin.kind != "default"
    ]


def _store_of(layers: Layers, environ: Mapping[str, str]) -> str | None:
    """The folder of a bucket that is the model store, if one is; Vertex AI's if no model is named."""
    named = [layers.texts[name][1].kind != "default" for name in ("load_models", "model_snapshot")]
    if vertex.is_asked_for(environ) and not any(named) and (folder := vertex.storage(environ)):
        origin = Origin("environment", "AIP_STORAGE_URI")
        layers.give("model_store", folder, origin)
        layers.give("load_models", vertex.MODEL, origin)
    text = layers.texts["model_store"][0].strip()
    if not is_cloud(text):
        return None
    try:
        bucket_of(text)
    except ValueError:
        raise SettingsError(f"model_store={text}: names no bucket") from None
    return text


def _opens_inference(values: Configured, given: Collection[str], environ: Mapping[str, str]) -> bool:
    """Whether predictions need no key: on platforms that send none, where nothing was said of tokens.

    They started TorchServe before 0.12, which knew no tokens, or know no more of it than a URL.
    """
    called = kserve.is_asked_for(environ) or vertex.is_asked_for(environ)
    return called and says_nothing_of_tokens(values, given)


def _for_vertex(
    configured: Configured,
    open_inference: bool,
    origins: dict[str, Origin],
    warnings: list[str],
    environ: Mapping[str, str],
) -> tuple[Configured, vertex.VertexAi | None]:
    """Puts inference on the port that Vertex AI calls, where nobody configured it, and says what it calls."""
    if not vertex.is_asked_for(environ):
        return configured, None
    configured = _with_room(configured, origins, (vertex.called_port(environ),), vertex.CALLER)
    given = _given(origins)
    if "inference_address" not in given:
        origins["inference_address"] = Origin("default", "under Vertex AI")
    configured, served, sentences = vertex.served(configured, given, environ)
    exposed = exposure(configured, (served.http,), vertex.CALLER, predictions_only=open_inference)
    warnings += [*sentences, *([exposed] if exposed else [])]
    return configured, served


def _given(origins: Mapping[str, Origin]) -> list[str]:
    """The names of what somebody configured."""
    return [name for name, origin in origins.items() if origin.kind != "default"]


def _with_room(
    configured: Configured, origins: dict[str, Origin], called: Collection[int], caller: str
) -> Configured:
    """With what nobody configured off the ports that a platform calls."""
    configured, moved = make_room(configured, _given(origins), called)
    origins |= dict.fromkeys(moved, Origin("default", f"under {caller}"))
    return configured


def _is_kserve(arguments: CommandLine, environ: Mapping[str, str]) -> bool:
    return arguments.kserve or kserve.is_asked_for(environ)


def _for_kserve(
    configured: Configured, origins: dict[str, Origin], warnings: list[str], open_inference: bool
) -> tuple[Configured, kserve.KServePorts]:
    """Moves what nobody configured out of the way of KServe's ports; says what to open there."""
    called = (configured.kserve_http_port, configured.kserve_grpc_port)
    configured = _with_room(configured, origins, called, kserve.CALLER)
    given = _given(origins)
    if "inference_address" not in given:
        origins["inference_address"] = Origin("default", "under KServe")
    configured, opened, sentences = kserve.served(configured, given)
    exposed = exposure(configured, (opened.http, opened.grpc), kserve.CALLER, predictions_only=open_inference)
    warnings += [*sentences, *([exposed] if exposed else [])]
    return configured, opened


def find_config(
    arguments: CommandLine, environ: Mapping[str, str], cwd: Path
) -> tuple[Path | None, Path | None]:
    """TS_CONFIG_FILE, else --ts-config, else the newest snapshot, else ./config.properties, else none.

    Under KServe CONFIG_PATH, which the wrapper of TorchServe's image reads, counts as --ts-config would.

    Returns:
        the file, and the ./config.properties that a snapshot keeps from being used.

    Raises:
        SettingsError: a named file is not there; TorchServe's text.
    """
    named = environ.get("TS_CONFIG_FILE") or arguments.ts_config
    if named is not None:
        path = cwd / named
        if not path.is_file():
            raise LaunchRefused(f"--ts-config file not found: {named}")
        return path, None
    if _is_kserve(arguments, environ) and (named := environ.get(kserve.CONFIG_VARIABLE)):
        if not (cwd / named).is_file():
            raise SettingsError(f"{kserve.CONFIG_VARIABLE} file not found: {named}")
        return cwd / named, None
    path = cwd / "config.properties"
    default = path if path.is_file() else None
    if not arguments.no_config_snapshots:
        snapshot = newest_snapshot(snapshot_folder(log_location(environ, cwd)))
        if snapshot is not None:
            return snapshot, default
    return default, None


def _apply_file(layers: Layers, path: Path, environ: Mapping[str, str], reader: SettingReader) -> None:
    try:
        text = properties_text(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"--ts-config file cannot be read: {path}: {error}") from None
    for entry in parse_properties(text):
        if entry.key not in BY_NAME:
            reader.complain(
                f"unknown key {entry.key} ({path}:{entry.line}){hint(entry.key)}", "; it is ignored"
            )
            continue
        if barred := BY_NAME[entry.key].barred:
            raise SettingsError(f"{entry.key} ({path}:{entry.line}): {barred}")
        try:
            value = substitute(entry.value, environ)
        except SettingsError as error:
            raise SettingsError(f"{entry.key}={entry.value} ({path}:{entry.line}): {error.message}") from None
        layers.give(entry.key, value, Origin("file", str(path), entry.line))


def _apply_command_line(layers: Layers, arguments: CommandLine) -> None:
    given = {
        "model_store": (arguments.model_store, "--model-store"),
        "workflow_store": (arguments.workflow_store, "--workflow-store"),
        "load_models": (None if arguments.models is None else ",".join(arguments.models), "--models"),
        "disable_token_authorization": (
            "true" if arguments.disable_token_auth else None,
            "--disable-token-auth",
        ),
        "insecure": ("true" if arguments.insecure else None, "--insecure"),
        "enable_model_api": ("true" if arguments.enable_model_api else None, "--enable-model-api"),
        "plugins_path": (arguments.plugins_path, "--plugins-path"),
        "cpp_log_config": (arguments.cpp_log_config, "--cpp-log-config"),
        "log_level": (arguments.log_level, "--log-level"),
        "sandbox": (arguments.sandbox, "--sandbox"),
    }
    for name, (value, flag) in given.items():
        if value is not None:
            layers.give(name, str(value), Origin("command line", flag))


def _log_config(path: Path | None, environ: Mapping[str, str], cwd: Path) -> LogConfig:
    if path is None:
        return LogConfig()
    try:
        data = (cwd / path).read_bytes()
    except OSError as error:
        raise SettingsError(f"--log-config file cannot be read: {path}: {error}") from None
    return parse_log_config(str(path), data, environ)


def named_url(text: str) -> tuple[str | None, str]:
    """Name and URL of `name=url`; a `=` inside a URL (`#sha256=…`, `?key=…`) names nothing."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2]) if named else (None, text)


def said_of_models(settings: Settings) -> tuple[Told, ...]:
    """What the configuration says of single models: in `models` and in a snapshot."""
    configured = [given for versions in settings.models.values() for given in versions.values()]
    kept = settings.model_snapshot.versions if settings.model_snapshot else ()
    given = (*configured, *(version.given for version in kept))
    return tuple(told for one in given for told in one.told.values())


def secret_variables() -> frozenset[str]:
    """The environment variables that hold secrets of the server, or say where they are: never for workers."""
    return frozenset(key.variable for key in KEYS if key.secret or key.name.endswith("_key_file"))


def process_environ() -> Mapping[str, str]:
    """The process's environment: the one place where it is read."""
    return os.environ
