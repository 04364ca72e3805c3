"""All settings as one frozen object, merged once, each value with its origin.

Order, TorchServe's: defaults < config.properties < command line < environment `TS_*` (only with
enable_envvars_config=true). The one module that reads the environment. Light on purpose: a bad value is
reported before anything heavy is imported.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchkeeper.errors import SettingsError
from torchkeeper.properties import parse_properties, substitute


@dataclass(frozen=True)
class Address:
    """Where to listen: `http(s)://host[:port]` or `unix:/path`."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: a default, a file and line, the command line or the environment."""

    kind: str
    source: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{self.kind} {place}".strip()


def _text(value: str) -> str | None:
    return value or None


def _boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError("must be true or false")
    return lowered == "true"


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value.strip())
        except ValueError:
            raise ValueError("must be a whole number") from None
        if number < low or (high is not None and number > high):
            raise ValueError(f"must be at least {low}" if high is None else f"must be from {low} to {high}")
        return number

    return parse


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 < number < float("inf"):
        raise ValueError("must be greater than 0")
    return number


def _minutes(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError("must be a number of minutes") from None


def _pattern(value: str) -> re.Pattern[str] | None:
    if not value:
        return None
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _urls(value: str) -> tuple[re.Pattern[str], ...]:
    return tuple(pattern for part in value.split(",") if (pattern := _pattern(part.strip())) is not None)


def _comma_list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _path(value: str) -> Path | None:
    return Path(value).expanduser() if value else None


def _choice(*known: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return parse


def _models(value: str) -> Mapping[str, Any]:
    try:
        found = json.loads(value) if value else {}
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(versions, dict) for versions in found.values()):
        raise ValueError('must be JSON of the form {"<name>": {"<version>": {...}}}')
    return found


def _envelope(value: str) -> str | None:
    if value and not re.fullmatch(r"\w+", value):
        raise ValueError("must be the name of an envelope, such as body or json")
    return value or None


def _address(plain: int, tls: int) -> Callable[[str], Address]:
    def parse(value: str) -> Address:
        if value.startswith("unix:"):
            path = value.removeprefix("unix:")
            if not path:
                raise ValueError("needs a path after unix:")
            return Address("unix", path=path)
        match = re.fullmatch(r"(https?)://(\[[0-9a-fA-F:]+\]|[^/:\s]+)(?::(\d+))?/?", value)
        if match is None:
            raise ValueError("must be http://host:port, https://host:port or unix:/path")
        port = int(match[3]) if match[3] else (tls if match[1] == "https" else plain)
        if port > 65535:
            raise ValueError(f"port {port} is not from 0 to 65535")
        return Address(match[1], match[2].strip("[]"), port)

    return parse


@dataclass(frozen=True)
class Key:
    """One key of config.properties. `later` names the missing feature if the key has no effect yet."""

    name: str
    parse: Callable[[str], Any]
    default: str
    meaning: str
    later: str = ""
    env: str = ""
    #: Keys outside TorchServe's documented table cannot be set through the environment.
    from_env: bool = True

    @property
    def variable(self) -> str:
        """The environment variable of this key."""
        return self.env or "TS_" + self.name.upper()


_MANAGEMENT = "the management API"
_METRICS = "the metrics API"
_GRPC = "gRPC"
_TLS = "TLS"
_TOKENS = "token authorization"
_IPEX = "the Intel extension"

_port = _whole(0, 65535)
_count = _whole(0)

KEYS: tuple[Key, ...] = (
    Key("inference_address", _address(80, 443), "http://127.0.0.1:8080", "where predictions are served"),
    Key(
        "management_address",
        _address(8081, 8444),
        "http://127.0.0.1:8081",
        "where models are managed",
        _MANAGEMENT,
    ),
    Key("metrics_address", _address(8082, 8445), "http://127.0.0.1:8082", "where metrics are read", _METRICS),
    Key("model_store", _path, "", "folder of archives"),
    Key("workflow_store", _path, "", "folder of workflow archives", "workflows"),
    Key("load_models", _comma_list, "", "models to load at start, as --models"),
    Key("models", _models, "", "JSON with defaults per model and version", from_env=False),
    Key(
        "default_workers_per_model", _count, "0", "workers per start-up model; 0: one per GPU, else per core"
    ),
    Key("default_response_timeout", _seconds, "120", "seconds a batch may take"),
    Key("default_startup_timeout", _seconds, "120", "seconds a worker may take to load its model"),
    Key("unregister_model_timeout", _seconds, "120", "seconds unregistering may take", _MANAGEMENT),
    Key("job_queue_size", _whole(1), "100", "requests that may wait per model version"),
    Key("max_request_size", _whole(1), "6553500", "bytes of a request's body"),
    Key("max_response_size", _whole(1), "6553500", "bytes of an answer's body"),
    Key("limit_max_image_pixels", _boolean, "true", "keep Pillow's guard against decompression bombs"),
    Key("decode_input_request", _boolean, "true", "decode JSON and text before the handler sees them"),
    Key("default_service_handler", _text, "", "handler of archives that name none"),
    Key("service_envelope", _envelope, "", "envelope of all models: body or json"),
    Key("blacklist_env_vars", _pattern, "", "regular expression on names withheld from workers"),
    Key("number_of_gpu", _count, "", "upper bound of the GPUs used; empty: all visible"),
    Key("initial_worker_port", _port, "9000", "number in the first worker's name"),
    Key("cors_allowed_origin", _text, "", "access-control-allow-origin of every answer"),
    Key("cors_allowed_methods", _text, "", "access-control-allow-methods of every answer"),
    Key("cors_allowed_headers", _text, "", "access-control-allow-headers of every answer"),
    Key(
        "enable_envvars_config",
        _boolean,
        "false",
        "let TS_* variables win over file and command line",
        from_env=False,
    ),
    Key("disable_token_authorization", _boolean, "false", "serve without tokens", _TOKENS),
    Key(
        "token_expiration_min",
        _minutes,
        "60",
        "minutes a token lives",
        _TOKENS,
        "TS_TOKEN_EXPIRATION_TIME_MIN",
    ),
    Key("enable_model_api", _boolean, "false", "allow registering models at run time", _MANAGEMENT),
    Key("allowed_urls", _urls, "file://.*|http(s)?://.*", "where models may come from", _MANAGEMENT),
    Key("use_env_allowed_urls", _boolean, "false", "take allowed_urls from TS_ALLOWED_URLS", _MANAGEMENT),
    Key("enable_metrics_api", _boolean, "true", "serve the metrics API", _METRICS),
    Key("metrics_config", _path, "", "metrics.yaml", _METRICS),
    Key("metrics_mode", _choice("log", "prometheus", "legacy"), "log", "where metrics go", _METRICS),
    Key("model_metrics_auto_detect", _boolean, "false", "take metrics that metrics.yaml lacks", _METRICS),
    Key("disable_system_metrics", _boolean, "false", "no system metrics", _METRICS),
    Key("system_metrics_cmd", _text, "", "own collector of system metrics", _METRICS, from_env=False),
    Key("metric_time_interval", _whole(1), "60", "seconds between system metrics", _METRICS, from_env=False),
    Key("grpc_inference_address", _text, "127.0.0.1", "gRPC inference host", _GRPC),
    Key("grpc_management_address", _text, "127.0.0.1", "gRPC management host", _GRPC),
    Key("grpc_inference_port", _port, "7070", "gRPC inference port", _GRPC),
    Key("grpc_management_port", _port, "7071", "gRPC management port", _GRPC),
    Key("grpc_inference_max_connection_age_ms", _count, "", "milliseconds a connection lives", _GRPC),
    Key("grpc_inference_max_connection_age_grace_ms", _count, "", "and its grace", _GRPC),
    Key("grpc_management_max_connection_age_ms", _count, "", "milliseconds a connection lives", _GRPC),
    Key("grpc_management_max_connection_age_grace_ms", _count, "", "and its grace", _GRPC),
    Key("enable_grpc_ssl", _boolean, "false", "TLS for gRPC", _GRPC),
    Key(
        "ts_open_inference_protocol",
        _boolean,
        "false",
        "the v2 services",
        "KServe v2",
        "TS_OPEN_INFERENCE_PROTOCOL",
    ),
    Key("keystore", _path, "", "PKCS12 keystore", _TLS),
    Key("keystore_pass", _text, "changeit", "its password", _TLS),
    Key("keystore_type", _text, "PKCS12", "its type", _TLS),
    Key("private_key_file", _path, "", "PEM private key", _TLS),
    Key("certificate_file", _path, "", "PEM certificate", _TLS),
    Key(
        "install_py_dep_per_model",
        _boolean,
        "false",
        "install a model's requirements",
        "requirements per model",
    ),
    Key("model_snapshot", _text, "", "a snapshot's models", "snapshots", from_env=False),
    Key("ts_header_key_sequence_id", _text, "ts_request_sequence_id", "header name", "sequence batching"),
    Key(
        "ts_header_key_sequence_start", _text, "ts_request_sequence_start", "header name", "sequence batching"
    ),
    Key("ts_header_key_sequence_end", _text, "ts_request_sequence_end", "header name", "sequence batching"),
    Key(
        "initial_distribution_port", _port, "29500", "torchrun's first port", "models over several processes"
    ),
    Key("ipex_enable", _boolean, "false", "Intel extension", _IPEX),
    Key("ipex_gpu_enable", _boolean, "false", "Intel extension on GPUs", _IPEX),
    Key("cpu_launcher_enable", _boolean, "false", "Intel's launcher", _IPEX),
    Key("cpu_launcher_args", _text, "", "its arguments", _IPEX),
    Key("cpp_log_config", _path, "", "log configuration of the C++ back end", "the C++ back end"),
    Key("debug", _boolean, "false", "", "debug mode"),
    Key("async_logging", _boolean, "false", "", "nothing: logs are always written off the request path"),
    Key("number_of_netty_threads", _count, "0", "", "nothing: there is one event loop"),
    Key("netty_client_threads", _count, "0", "", "nothing: there is one event loop"),
    Key("prefer_direct_buffer", _boolean, "false", "", "nothing: it concerns Java only"),
    Key("use_native_io", _boolean, "true", "", "nothing: it concerns Java only", from_env=False),
    Key("io_ratio", _count, "50", "", "nothing: it concerns Java only", from_env=False),
    Key("vmargs", _text, "", "", "nothing: there is no Java here", from_env=False),
    Key("plugins_path", _text, "", "", "nothing: there are no Java plug-ins", from_env=False),
    Key("model_server_home", _path, "", "", "nothing: the installed package is its own home"),
    Key("version", _text, "", "", "nothing", from_env=False),
    Key("tsConfigFile", _text, "", "", "nothing", from_env=False),
    Key("python", _text, "", "", "nothing: workers run under the server's own interpreter", from_env=False),
)

BY_NAME = {key.name: key for key in KEYS}


@dataclass(frozen=True)
class CommandLine:
    """What torchserve's flags say; None or False where a flag was not given."""

    ts_config: Path | None = None
    model_store: Path | None = None
    workflow_store: Path | None = None
    models: tuple[str, ...] | None = None
    disable_token_auth: bool = False
    enable_model_api: bool = False
    no_config_snapshots: bool = False
    plugins_path: str | None = None


@dataclass(frozen=True)
class Settings:
    """Every setting by its key's name, as an attribute, and where each came from."""

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    log_location: Path
    metrics_location: Path
    temp_dir: Path
    config_file: Path | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(f"no setting is called {name!r}") from None


_Raw = dict[str, tuple[str, Origin]]


def load_settings(
    arguments: CommandLine, environ: Mapping[str, str], cwd: Path
) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and sentences about what was ignored.

    Raises:
        SettingsError: one line that names key, value and place.
    """
    warnings: list[str] = []
    raw: _Raw = {key.name: (key.default, Origin("default")) for key in KEYS}
    config_file = find_config(arguments, environ, cwd)
    if config_file is not None:
        _apply_file(raw, config_file, environ, warnings)
    _apply_command_line(raw, arguments)
    if raw["enable_envvars_config"][0].strip().lower() == "true":
        _apply_environment(raw, environ)
    values = {name: _parsed(name, *pair) for name, pair in raw.items()}
    origins = {name: origin for name, (_, origin) in raw.items()}
    warnings += [
        f"{name} ({origin}) has no effect: torchkeeper does not have {BY_NAME[name].later} yet"
        if not BY_NAME[name].later.startswith("nothing")
        else f"{name} ({origin}) has no effect{BY_NAME[name].later.removeprefix('nothing')}"
        for name, origin in origins.items()
        if BY_NAME[name].later and origin.kind in ("file", "environment")
    ]
    logs = Path(environ.get("LOG_LOCATION", "logs"))
    settings = Settings(
        values,
        origins,
        log_location=cwd / logs,
        metrics_location=cwd / Path(environ.get("METRICS_LOCATION", str(logs))),
        temp_dir=_temp_dir(environ),
        config_file=config_file,
    )
    return settings, tuple(warnings)


def find_config(arguments: CommandLine, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """TS_CONFIG_FILE, else --ts-config, else ./config.properties, else none.

    Raises:
        SettingsError: a named file is not there; TorchServe's text.
    """
    named = environ.get("TS_CONFIG_FILE") or arguments.ts_config
    if named is not None:
        path = cwd / named
        if not path.is_file():
            raise SettingsError(f"--ts-config file not found: {named}")
        return path
    default = cwd / "config.properties"
    return default if default.is_file() else None


def _apply_file(raw: _Raw, path: Path, environ: Mapping[str, str], warnings: list[str]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--ts-config file cannot be read: {path}: {error}") from None
    for entry in parse_properties(text):
        origin = Origin("file", str(path), entry.line)
        if entry.key not in raw:
            near = difflib.get_close_matches(entry.key, raw, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"unknown key {entry.key} ({path}:{entry.line}) is ignored{hint}")
            continue
        try:
            raw[entry.key] = (substitute(entry.value.strip(), environ), origin)
        except SettingsError as error:
            raise SettingsError(
                f"{entry.key}={entry.value} ({origin.source}:{origin.line}): {error.message}"
            ) from None


def _apply_command_line(raw: _Raw, arguments: CommandLine) -> None:
    given = {
        "model_store": (arguments.model_store, "--model-store"),
        "workflow_store": (arguments.workflow_store, "--workflow-store"),
        "load_models": (None if arguments.models is None else ",".join(arguments.models), "--models"),
        "disable_token_authorization": (
            "true" if arguments.disable_token_auth else None,
            "--disable-token-auth",
        ),
        "enable_model_api": ("true" if arguments.enable_model_api else None, "--enable-model-api"),
        "plugins_path": (arguments.plugins_path, "--plugins-path"),
    }
    for name, (value, flag) in given.items():
        if value is not None:
            raw[name] = (str(value), Origin("command line", flag))


def _apply_environment(raw: _Raw, environ: Mapping[str, str]) -> None:
    for key in KEYS:
        if key.from_env and key.variable in environ:
            if key.name == "allowed_urls" and raw["use_env_allowed_urls"][0] != "true":
                continue
            raw[key.name] = (environ[key.variable], Origin("environment", key.variable))


def _parsed(name: str, value: str, origin: Origin) -> Any:
    key = BY_NAME[name]
    if not value and not key.default:
        value = ""
        if key.parse in (_count, _port):
            return None
    try:
        return key.parse(value)
    except ValueError as error:
        place = f"{origin.source}:{origin.line}" if origin.line else origin.source or origin.kind
        raise SettingsError(f"{name}={value} ({place}): {error}") from None


def _temp_dir(environ: Mapping[str, str]) -> Path:
    named = environ.get("TEMP")
    if named is None:
        return Path(tempfile.gettempdir())
    if not Path(named).is_dir():
        raise SettingsError(f"Invalid temp directory: {named}, please check TEMP environment variable.")
    return Path(named)


def startup_models(settings: Settings) -> list[tuple[str | None, str]]:
    """The start-up models as (name or None, archive), with `all` spelled out from the model store.

    Source: TorchServe's --models forms: `a.mar`, `name=a.mar`, commas or blanks between, or `all`.
    """
    wanted: tuple[str, ...] = settings.load_models
    if len(wanted) == 1 and wanted[0].lower() == "all":
        store: Path = settings.model_store
        return [
            (None, entry.name)
            for entry in sorted(store.iterdir())
            if not entry.name.startswith(".")
            and (entry.is_dir() or entry.name.endswith((".mar", ".model", ".tar.gz")))
        ]
    found: list[tuple[str | None, str]] = []
    for text in wanted:
        name, separator, url = text.partition("=")
        found.append((name, url) if separator else (None, text))
    return found


def process_environ() -> Mapping[str, str]:
    """The process's environment: the one place where it is read."""
    return os.environ
