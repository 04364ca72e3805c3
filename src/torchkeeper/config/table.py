"""The table of all keys of config.properties: name, form, default, meaning, and what is missing yet.

The rows are the fields of `Configured`, so that each key's value has its type. Source of names and defaults:
TorchServe 0.12's configuration. Pure: a text in, a value or a ValueError out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from torchkeeper.config import model_forms
from torchkeeper.config import types as form
from torchkeeper.config.model_rules import NETWORKS, SANDBOXES
from torchkeeper.config.model_settings import GivenSettings
from torchkeeper.config.model_snapshot import ModelSnapshot
from torchkeeper.config.setting_key import Effect, SettingKey, key
from torchkeeper.config.types import Address
from torchkeeper.deadlines import DRAIN
from torchkeeper.wire import features


def _given_key(use: str) -> str | None:
    """A token that is given from outside; it does not change and does not expire."""
    meaning = f"the token {use}, given from outside; from the environment only, always read"
    return key(form.text, "", meaning, always_env=True, from_file=False, secret=True, own=True)


def _given_file(use: str) -> Path | None:
    return key(form.path, "", f"file with the token {use}; always read", always_env=True, own=True)


def _sequence_header(part: str) -> str | None:
    default, variable = f"ts_request_sequence_{part}", f"TS_HEADER_KEY_SEQUENCE_{part.upper()}"
    return key(form.text, default, "header name", Effect.LATER, features.SEQUENCES.name, env=variable)


@dataclass(frozen=True, kw_only=True)
class Configured:
    """The value of every key."""

    inference_address: Address = key(
        form.address(80, 443), "http://127.0.0.1:8080", "where predictions are served"
    )
    management_address: Address = key(
        form.address(8081, 8444), "http://127.0.0.1:8081", "where models are managed"
    )
    metrics_address: Address = key(
        form.address(8082, 8445), "http://127.0.0.1:8082", "where metrics are read"
    )
    model_store: Path | None = key(form.path, "", "folder of archives")
    workflow_store: Path | None = key(
        form.path, "", "folder of workflow archives", Effect.LATER, features.WORKFLOWS.name
    )
    load_models: tuple[str, ...] = key(form.comma_list, "", "models to load at start, as --models")
    models: Mapping[str, Mapping[str, GivenSettings]] = key(
        model_forms.models, "", "JSON with defaults per model and version", from_env=False, json=True
    )
    default_workers_per_model: int = key(
        form.whole(0, instead=0), "0", "workers per start-up model; 0: one per GPU, else per core"
    )
    default_response_timeout: float = key(form.seconds(120), "120", "seconds a batch may take")
    default_startup_timeout: float = key(
        form.seconds(120), "120", "seconds a worker may take to load its model"
    )
    unregister_model_timeout: float = key(form.seconds(120), "120", "seconds unregistering may take")
    job_queue_size: int = key(form.whole(1, instead=100), "100", "requests that may wait per model version")
    job_queue_bytes: int = key(
        form.whole(1, form.LONG), "1073741824", "bytes that they may have per model version", own=True
    )
    max_request_size: int = key(form.whole(1, instead=6553500), "6553500", "bytes of a request's body")
    max_response_size: int = key(form.whole(1, instead=6553500), "6553500", "bytes of an answer's body")
    max_header_size: int = key(form.whole(1024), "16384", "bytes of a request line and its header", own=True)
    max_header_fields: int = key(form.whole(1), "128", "fields of a request's header", own=True)
    max_request_chunks: int = key(form.whole(1), "65536", "chunks that a request's body may have", own=True)
    max_form_parts: int = key(form.whole(1), "1000", "parts of a multipart form", own=True)
    max_form_fields: int = key(form.whole(1), "10000", "fields of a query or an encoded form", own=True)
    header_timeout: float = key(
        form.seconds(10), "10", "seconds from a request's first byte to the end of its header", own=True
    )
    body_timeout: float = key(form.seconds(60), "60", "seconds that a body may pause", own=True)
    min_body_rate: int = key(
        form.whole(0),
        "1024",
        "bytes a second that a body brings after its first 30 seconds; 0: any",
        own=True,
    )
    keep_alive_timeout: float = key(
        form.seconds(75), "75", "seconds that a connection is kept for a next request", own=True
    )
    max_connections: int = key(
        form.whole(0),
        "0",
        "connections of an address of this file; 0: as many as files may be open",
        own=True,
    )
    max_connections_per_client: int = key(
        form.whole(0),
        "4096",
        "and of them those of one client's address, loopback and trusted_proxies apart; 0: any number",
        own=True,
    )
    trusted_proxies: tuple[form.Network, ...] = key(
        form.networks, "", "addresses and networks of proxies, which have many connections", own=True
    )
    max_unfinished_bytes: int = key(
        form.whole(1, form.LONG),
        "536870912",
        "bytes of bodies on their way, all together; beyond them the oldest one is refused",
        own=True,
    )
    limit_max_image_pixels: bool = key(
        form.boolean, "true", "refuse pictures of more than `max_image_pixels`"
    )
    max_image_pixels: int = key(
        form.whole(1), "50000000", "pixels of a picture that a worker decodes by Pillow", own=True
    )
    decode_input_request: bool = key(
        form.boolean, "true", "decode JSON and text before the handler sees them"
    )
    nan_in_answers: str = key(
        form.choice("keep", "null", "error"),
        "keep",
        "NaN and Infinity in JSON that handlers return: keep (no JSON, TorchServe's), null, or error",
        own=True,
    )
    default_service_handler: str | None = key(form.text, "", "handler of archives that name none")
    service_envelope: str | None = key(
        form.envelope, "", "envelope of all models: body, json, kserve or kservev2"
    )
    blacklist_env_vars: re.Pattern[str] | None = key(
        form.pattern, "", "regular expression on names withheld from workers"
    )
    sandbox: str = key(form.choice(*SANDBOXES), "default", "what workers may do; see sandbox.md", own=True)
    sandbox_network: str | None = key(
        form.or_nothing(form.choice(*NETWORKS)),
        "",
        "whether they have the network: any or none; empty: none if they are strict",
        own=True,
    )
    sandbox_limits: Mapping[str, int] = key(
        model_forms.limits,
        "",
        "what a worker may use, as `ulimit` names it: nofile, nproc, as, fsize (nofile=1024,as=16G)",
        own=True,
    )
    worker_user: str | None = key(
        form.text, "", "user, or uid:gid, that workers run as if the server is root", own=True
    )
    compile_cache: Path | None = key(
        form.path,
        "",
        "folder that keeps what `execution.aot` and `execution.compile` compile, of mode 0700; empty: "
        "torchkeeper/compiled in $XDG_CACHE_HOME or ~/.cache; off: nothing is kept",
        own=True,
    )
    compile_cache_max_bytes: int = key(
        form.whole(1, form.LONG),
        "10737418240",
        "bytes that compile_cache may hold; beyond them what was read longest ago goes",
        own=True,
    )
    number_of_gpu: int | None = key(
        form.or_nothing(form.whole(0, instead=0)), "", "upper bound of the GPUs used; empty: all visible"
    )
    initial_worker_port: int = key(form.whole(0, instead=9000), "9000", "number in the first worker's name")
    log_format: str = key(
        form.choice("plain", "json"), "plain", "log lines as TorchServe's, or as JSON", own=True
    )
    log_level: str = key(
        form.choice("debug", "info", "warn", "error"),
        "info",
        "least level of the server's own lines: debug, info, warn, error",
        own=True,
    )
    cors_allowed_origin: str | None = key(form.text, "", "access-control-allow-origin of every answer")
    cors_allowed_methods: str | None = key(form.text, "", "access-control-allow-methods of every answer")
    cors_allowed_headers: str | None = key(form.text, "", "access-control-allow-headers of every answer")
    allowed_hosts: tuple[str, ...] = key(
        form.comma_list,
        "",
        "names besides localhost by which models are managed on loopback without tokens; *: any",
        own=True,
    )
    enable_envvars_config: bool = key(
        form.boolean, "false", "let TS_* variables win over file and command line", from_env=False
    )
    strict: bool = key(
        form.boolean,
        "false",
        "be stricter than TorchServe in all that is listed below; always read",
        always_env=True,
        own=True,
    )
    strict_config: bool = key(
        form.boolean,
        "false",
        "refuse unknown keys and values that TorchServe passes over; always read",
        always_env=True,
        own=True,
    )
    disable_token_authorization: bool = key(form.boolean, "false", "serve without tokens")
    insecure: bool = key(
        form.boolean,
        "false",
        "serve without tokens to more than this machine, outside of containers too; always read",
        always_env=True,
        own=True,
    )
    token_expiration_min: float = key(
        form.minutes, "60", "minutes a token lives", env="TS_TOKEN_EXPIRATION_TIME_MIN"
    )
    strict_http_auth: bool = key(
        form.boolean, "false", "answer 401 and 403 to bad tokens instead of TorchServe's 400", own=True
    )
    strict_statuses: bool = key(
        form.boolean,
        "false",
        "answer 504 where a worker did not answer in time, instead of TorchServe's 500",
        own=True,
    )
    ping_ready: bool = key(
        form.boolean,
        "false",
        "answer /ping with 500 until all models named at start serve, and when one cannot be loaded",
        own=True,
    )
    ping_models: bool = key(
        form.boolean,
        "false",
        "answer /ping with 500 while some model has given its workers up, as TorchServe does",
        own=True,
    )
    drain_delay: int = key(
        form.whole(0),
        "0",
        "seconds for which requests are still taken after SIGTERM, while readiness says 503",
        own=True,
    )
    drain_timeout: int = key(
        form.whole(0), f"{DRAIN:g}", "seconds that running requests have then to be answered", own=True
    )
    token_protect_ping: bool = key(
        form.boolean, "false", "ask for the inference token at /ping, as TorchServe does", own=True
    )
    management_key: str | None = _given_key("for the management API")
    management_key_file: Path | None = _given_file("for the management API")
    inference_key: str | None = _given_key("for the inference API")
    inference_key_file: Path | None = _given_file("for the inference API")
    api_key: str | None = _given_key("that renews the other two")
    api_key_file: Path | None = _given_file("that renews the other two")
    enable_model_api: bool = key(form.boolean, "false", "allow registering models at run time")
    allowed_urls: tuple[re.Pattern[str], ...] = key(
        form.urls, "file://.*|http(s)?://.*", "where models may come from"
    )
    allowed_addresses: tuple[form.Network, ...] = key(
        form.networks, "", "networks that models may come from although they are not public", own=True
    )
    max_download_size: int = key(form.whole(1, form.LONG), "107374182400", "bytes of a download", own=True)
    verify_models: str = key(
        form.choice("off", "warn", "require"),
        "off",
        "archives that nobody trusted has signed: off: taken, warn: taken and told of, require: refused",
        own=True,
    )
    verify_public_keys: tuple[Path, ...] = key(
        form.paths, "", "PEM files with the public keys of who may sign models", own=True
    )
    verify_certificate_chain: tuple[Path, ...] = key(
        form.paths, "", "PEM files with certificates under which models may be signed", own=True
    )
    verify_identity: str | None = key(
        form.text, "", "who may sign models by Sigstore, an address say", own=True
    )
    verify_identity_provider: str | None = key(form.text, "", "the URL of who vouches for that", own=True)
    verify_trust_config: Path | None = key(
        form.path, "", "JSON with the keys of a Sigstore of one's own; empty: the public one's", own=True
    )
    use_env_allowed_urls: bool = key(form.boolean, "false", "take allowed_urls from TS_ALLOWED_URLS")
    enable_metrics_api: bool = key(form.boolean, "true", "serve the metrics API")
    metrics_config: Path | None = key(form.path, "", "metrics.yaml; empty: the package's own")
    metrics_mode: str = key(
        form.choice("log", "prometheus", "legacy", instead="log"),
        "log",
        "log: files and /metrics; prometheus: only /metrics; legacy: three counters there, the rest in files",
    )
    metrics_openmetrics: bool = key(
        form.boolean, "false", "answer /metrics as OpenMetrics to whoever accepts it", own=True
    )
    model_metrics_auto_detect: bool = key(
        form.boolean, "false", "take metrics of handlers that metrics.yaml lacks"
    )
    disable_system_metrics: bool = key(form.boolean, "false", "no system metrics")
    system_metrics_cmd: str | None = key(
        form.text, "", "", Effect.NONE, "the server reads the machine's figures itself", from_env=False
    )
    metric_time_interval: int = key(form.whole(1), "60", "seconds between system metrics", from_env=False)
    grpc_inference_address: str = key(form.host, "127.0.0.1", "host of gRPC inference")
    grpc_management_address: str = key(form.host, "127.0.0.1", "host of gRPC management")
    grpc_inference_port: int = key(form.port, "7070", "port of gRPC inference; 0: any free one")
    grpc_management_port: int = key(form.port, "7071", "port of gRPC management; 0: any free one")
    grpc_inference_max_connection_age_ms: int | None = key(
        form.milliseconds, "", "milliseconds a connection lives"
    )
    grpc_inference_max_connection_age_grace_ms: int | None = key(
        form.milliseconds, "", "and its calls after that"
    )
    grpc_management_max_connection_age_ms: int | None = key(
        form.milliseconds, "", "milliseconds a connection lives"
    )
    grpc_management_max_connection_age_grace_ms: int | None = key(
        form.milliseconds, "", "and its calls after that"
    )
    kserve_http_port: int = key(
        form.port, "8080", "port that KServe calls by HTTP; 0: any free one", own=True
    )
    kserve_grpc_port: int = key(
        form.port, "8081", "port that KServe calls by gRPC; 0: any free one", own=True
    )
    enable_grpc_ssl: bool = key(
        form.boolean, "false", "TLS for gRPC, with the certificate of the https addresses"
    )
    ts_open_inference_protocol: bool = key(
        form.protocol,
        "false",
        "",
        Effect.NONE,
        "the v2 URLs are always there",
        env="TS_OPEN_INFERENCE_PROTOCOL",
    )
    keystore: Path | None = key(form.path, "", "PKCS12 keystore of the https addresses and gRPC")
    keystore_pass: str = key(form.password, "changeit", "its password", secret=True)
    keystore_type: str = key(form.word, "PKCS12", "its type; PKCS12 is the only one")
    private_key_file: Path | None = key(form.path, "", "PEM private key of the https addresses and gRPC")
    certificate_file: Path | None = key(form.path, "", "PEM certificate and its chain")
    install_py_dep_per_model: bool = key(form.boolean, "false", "install a model's requirements")
    model_snapshot: ModelSnapshot | None = key(
        model_forms.snapshot,
        "",
        "JSON with a snapshot's models; they are loaded instead of load_models",
        from_env=False,
        json=True,
    )
    ts_header_key_sequence_id: str | None = _sequence_header("id")
    ts_header_key_sequence_start: str | None = _sequence_header("start")
    ts_header_key_sequence_end: str | None = _sequence_header("end")
    initial_distribution_port: int = key(
        form.whole(0, instead=29500), "29500", "torchrun's first port", Effect.LATER, features.PROCESSES.name
    )
    ipex_enable: bool = key(
        form.boolean,
        "false",
        "models without a section `execution` run in channels_last and bfloat16, if they can",
    )
    ipex_gpu_enable: bool = key(
        form.boolean, "false", "Intel extension on GPUs", Effect.LATER, features.INTEL.name
    )
    cpu_launcher_enable: bool = key(form.boolean, "false", "pin workers to their share of the cores")
    cpu_launcher_args: str | None = key(
        form.text, "", "of these --ncores_per_instance and --node_id count, the others are told at start"
    )
    cpp_log_config: Path | None = key(
        form.path, "", "log configuration of the C++ back end", Effect.NONE, "there is no C++ back end here"
    )
    debug: bool = key(form.boolean, "false", "", Effect.LATER, features.DEBUG.name)
    async_logging: bool = key(
        form.boolean, "false", "", Effect.NONE, "logs are always written off the request path"
    )
    number_of_netty_threads: int = key(form.whole(0), "0", "", Effect.NONE, "there is one event loop")
    netty_client_threads: int = key(form.whole(0), "0", "", Effect.NONE, "there is one event loop")
    prefer_direct_buffer: bool = key(form.boolean, "false", "", Effect.NONE, "it concerns Java only")
    use_native_io: bool = key(form.boolean, "true", "", Effect.NONE, "it concerns Java only", from_env=False)
    io_ratio: int = key(form.whole(0), "50", "", Effect.NONE, "it concerns Java only", from_env=False)
    vmargs: str | None = key(form.text, "", "", Effect.NONE, "there is no Java here", from_env=False)
    plugins_path: str | None = key(
        form.text, "", "", Effect.NONE, "there are no Java plug-ins", from_env=False
    )
    model_server_home: Path | None = key(
        form.path, "", "", Effect.NONE, "the installed package is its own home"
    )
    version: str | None = key(
        form.text, "", "", Effect.RECORD, "TorchServe's own bookkeeping", from_env=False
    )
    tsConfigFile: str | None = key(
        form.text, "", "", Effect.RECORD, "TorchServe's own bookkeeping", from_env=False
    )
    python: str | None = key(
        form.text, "", "", Effect.NONE, "workers run under the server's own interpreter", from_env=False
    )


KEYS: tuple[SettingKey, ...] = tuple(SettingKey(one.name, **one.metadata) for one in fields(Configured))
BY_NAME = {key.name: key for key in KEYS}
