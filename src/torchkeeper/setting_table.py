"""The table of all keys of config.properties: name, parser, default, meaning, and what is missing yet.

Source of names and defaults: TorchServe 0.12's configuration. Pure: a text in, a value or a ValueError out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchkeeper.snapshot import parse_model_snapshot


@dataclass(frozen=True)
class Address:
    """Where to listen: `http(s)://host[:port]` or `unix:/path`."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.scheme}://{self.host}:{self.port}"


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
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of minutes") from None
    if not 0 < number <= _CENTURY:  # TorchServe takes 0 and less, and makes keys that are born expired
        raise ValueError(f"must be greater than 0 and at most {_CENTURY} (a hundred years)")
    return number


_CENTURY = 100 * 365 * 24 * 60


def _pattern(value: str) -> re.Pattern[str] | None:
    if not value:
        return None
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _urls(value: str) -> tuple[re.Pattern[str], ...]:
    patterns = (_pattern(part.strip()) for part in value.split(","))
    return tuple(re.compile(pattern.pattern, re.IGNORECASE) for pattern in patterns if pattern is not None)


def _comma_list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _path(value: str) -> Path | None:
    return Path(value).expanduser() if value else None


def _choice(*known: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        plain = re.sub(r"\s", "", value).lower()
        if plain not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return plain

    return parse


def _log_level(value: str) -> str:
    return _choice("debug", "info", "warn", "error")(value.strip().lower())


def _models(value: str) -> Mapping[str, Any]:
    try:
        found = json.loads(value) if value else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(versions, dict) for versions in found.values()):
        raise ValueError('must be JSON of the form {"<name>": {"<version>": {...}}}')
    return found


#: Names of the envelopes that handlers can be put in.
ENVELOPES = ("body", "json", "kserve", "kservev2")


def _envelope(value: str) -> str | None:
    if value and value not in ENVELOPES:
        raise ValueError(f"must be empty or one of {', '.join(ENVELOPES)}")
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
    #: Read from the environment also without enable_envvars_config.
    always_env: bool = False
    from_file: bool = True
    #: Never printed, never handed to workers.
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this key."""
        return self.env or "TS_" + self.name.upper()


_IPEX = "the Intel extension"

_TOKEN_KEYS = (
    ("management", "for the management API"),
    ("inference", "for the inference API"),
    ("api", "that renews the other two"),
)


def _given_key(name: str, use: str) -> tuple[Key, Key]:
    """The two ways to give a token from outside; such a token does not change and does not expire."""
    return (
        Key(
            f"{name}_key",
            _text,
            "",
            f"the token {use}, given from outside; from the environment only, always read",
            always_env=True,
            from_file=False,
            secret=True,
        ),
        Key(f"{name}_key_file", _path, "", f"file with the token {use}; always read", always_env=True),
    )


port_number = _whole(0, 65535)
whole_number = _whole(0)

KEYS: tuple[Key, ...] = (
    Key("inference_address", _address(80, 443), "http://127.0.0.1:8080", "where predictions are served"),
    Key(
        "management_address",
        _address(8081, 8444),
        "http://127.0.0.1:8081",
        "where models are managed",
    ),
    Key("metrics_address", _address(8082, 8445), "http://127.0.0.1:8082", "where metrics are read"),
    Key("model_store", _path, "", "folder of archives"),
    Key("workflow_store", _path, "", "folder of workflow archives", "workflows"),
    Key("load_models", _comma_list, "", "models to load at start, as --models"),
    Key("models", _models, "", "JSON with defaults per model and version", from_env=False),
    Key(
        "default_workers_per_model",
        whole_number,
        "0",
        "workers per start-up model; 0: one per GPU, else per core",
    ),
    Key("default_response_timeout", _seconds, "120", "seconds a batch may take"),
    Key("default_startup_timeout", _seconds, "120", "seconds a worker may take to load its model"),
    Key("unregister_model_timeout", _seconds, "120", "seconds unregistering may take"),
    Key("job_queue_size", _whole(1), "100", "requests that may wait per model version"),
    Key("max_request_size", _whole(1), "6553500", "bytes of a request's body"),
    Key("max_response_size", _whole(1), "6553500", "bytes of an answer's body"),
    Key("limit_max_image_pixels", _boolean, "true", "keep Pillow's guard against decompression bombs"),
    Key("decode_input_request", _boolean, "true", "decode JSON and text before the handler sees them"),
    Key("default_service_handler", _text, "", "handler of archives that name none"),
    Key("service_envelope", _envelope, "", "envelope of all models: body, json, kserve or kservev2"),
    Key("blacklist_env_vars", _pattern, "", "regular expression on names withheld from workers"),
    Key("number_of_gpu", whole_number, "", "upper bound of the GPUs used; empty: all visible"),
    Key("initial_worker_port", port_number, "9000", "number in the first worker's name"),
    Key("log_format", _choice("plain", "json"), "plain", "log lines as TorchServe's, or as JSON"),
    Key("log_level", _log_level, "info", "least level of the server's own lines: debug, info, warn, error"),
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
    Key("disable_token_authorization", _boolean, "false", "serve without tokens"),
    Key(
        "token_expiration_min",
        _minutes,
        "60",
        "minutes a token lives",
        env="TS_TOKEN_EXPIRATION_TIME_MIN",
    ),
    Key(
        "strict_http_auth", _boolean, "false", "answer 401 and 403 to bad tokens instead of TorchServe's 400"
    ),
    Key("token_protect_ping", _boolean, "false", "ask for the inference token at /ping, as TorchServe does"),
    *(key for name, use in _TOKEN_KEYS for key in _given_key(name, use)),
    Key("enable_model_api", _boolean, "false", "allow registering models at run time"),
    Key("allowed_urls", _urls, "file://.*|http(s)?://.*", "where models may come from"),
    Key("use_env_allowed_urls", _boolean, "false", "take allowed_urls from TS_ALLOWED_URLS"),
    Key("enable_metrics_api", _boolean, "true", "serve the metrics API"),
    Key("metrics_config", _path, "", "metrics.yaml; empty: the package's own"),
    Key(
        "metrics_mode",
        _choice("log", "prometheus", "legacy"),
        "log",
        "log: files and /metrics; prometheus: only /metrics; legacy: three counters there, the rest in files",
    ),
    Key("metrics_openmetrics", _boolean, "false", "answer /metrics as OpenMetrics to whoever accepts it"),
    Key("model_metrics_auto_detect", _boolean, "false", "take metrics of handlers that metrics.yaml lacks"),
    Key("disable_system_metrics", _boolean, "false", "no system metrics"),
    Key(
        "system_metrics_cmd",
        _text,
        "",
        "",
        "nothing: the server reads the machine's figures itself",
        from_env=False,
    ),
    Key("metric_time_interval", _whole(1), "60", "seconds between system metrics", from_env=False),
    Key("grpc_inference_address", _text, "127.0.0.1", "host of gRPC inference"),
    Key("grpc_management_address", _text, "127.0.0.1", "host of gRPC management"),
    Key("grpc_inference_port", port_number, "7070", "port of gRPC inference; 0: any free one"),
    Key("grpc_management_port", port_number, "7071", "port of gRPC management; 0: any free one"),
    Key(
        "grpc_inference_max_connection_age_ms",
        whole_number,
        "",
        "milliseconds a connection lives",
    ),
    Key(
        "grpc_inference_max_connection_age_grace_ms",
        whole_number,
        "",
        "and its calls after that",
    ),
    Key(
        "grpc_management_max_connection_age_ms",
        whole_number,
        "",
        "milliseconds a connection lives",
    ),
    Key(
        "grpc_management_max_connection_age_grace_ms",
        whole_number,
        "",
        "and its calls after that",
    ),
    Key("kserve_http_port", port_number, "8080", "port that KServe calls by HTTP; 0: any free one"),
    Key("kserve_grpc_port", port_number, "8081", "port that KServe calls by gRPC; 0: any free one"),
    Key("enable_grpc_ssl", _boolean, "false", "TLS for gRPC, with the certificate of the https addresses"),
    Key(
        "ts_open_inference_protocol",
        _boolean,
        "false",
        "",
        "nothing: the v2 URLs are always there",
        "TS_OPEN_INFERENCE_PROTOCOL",
    ),
    Key("keystore", _path, "", "PKCS12 keystore of the https addresses and gRPC"),
    Key("keystore_pass", _text, "changeit", "its password", secret=True),
    Key("keystore_type", _text, "PKCS12", "its type; PKCS12 is the only one"),
    Key("private_key_file", _path, "", "PEM private key of the https addresses and gRPC"),
    Key("certificate_file", _path, "", "PEM certificate and its chain"),
    Key(
        "install_py_dep_per_model",
        _boolean,
        "false",
        "install a model's requirements",
    ),
    Key(
        "model_snapshot",
        parse_model_snapshot,
        "",
        "JSON with a snapshot's models; they are loaded instead of load_models",
        from_env=False,
    ),
    Key("ts_header_key_sequence_id", _text, "ts_request_sequence_id", "header name", "sequence batching"),
    Key(
        "ts_header_key_sequence_start", _text, "ts_request_sequence_start", "header name", "sequence batching"
    ),
    Key("ts_header_key_sequence_end", _text, "ts_request_sequence_end", "header name", "sequence batching"),
    Key(
        "initial_distribution_port",
        port_number,
        "29500",
        "torchrun's first port",
        "models over several processes",
    ),
    Key("ipex_enable", _boolean, "false", "Intel extension", _IPEX),
    Key("ipex_gpu_enable", _boolean, "false", "Intel extension on GPUs", _IPEX),
    Key("cpu_launcher_enable", _boolean, "false", "Intel's launcher", _IPEX),
    Key("cpu_launcher_args", _text, "", "its arguments", _IPEX),
    Key("cpp_log_config", _path, "", "log configuration of the C++ back end", "the C++ back end"),
    Key("debug", _boolean, "false", "", "debug mode"),
    Key("async_logging", _boolean, "false", "", "nothing: logs are always written off the request path"),
    Key("number_of_netty_threads", whole_number, "0", "", "nothing: there is one event loop"),
    Key("netty_client_threads", whole_number, "0", "", "nothing: there is one event loop"),
    Key("prefer_direct_buffer", _boolean, "false", "", "nothing: it concerns Java only"),
    Key("use_native_io", _boolean, "true", "", "nothing: it concerns Java only", from_env=False),
    Key("io_ratio", whole_number, "50", "", "nothing: it concerns Java only", from_env=False),
    Key("vmargs", _text, "", "", "nothing: there is no Java here", from_env=False),
    Key("plugins_path", _text, "", "", "nothing: there are no Java plug-ins", from_env=False),
    Key("model_server_home", _path, "", "", "nothing: the installed package is its own home"),
    Key("version", _text, "", "", "nothing", from_env=False),
    Key("tsConfigFile", _text, "", "", "nothing", from_env=False),
    Key("python", _text, "", "", "nothing: workers run under the server's own interpreter", from_env=False),
)

BY_NAME = {key.name: key for key in KEYS}
