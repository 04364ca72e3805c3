"""model-config.yaml: what the server reads of it, as one frozen value, joined with other sources.

Source of keys and meanings: TorchServe's model-config.yaml. Pure; the text comes from the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from torchkeeper.settings import Settings


@dataclass(frozen=True)
class ModelConfig:
    """What a file says; None where it says nothing. Times as in the file: see `ResolvedModelConfig`."""

    min_workers: int | None = None
    max_workers: int | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: float | None = None
    startup_timeout: float | None = None
    device_type: str | None = None
    device_ids: tuple[int, ...] | None = None
    job_queue_size: int | None = None
    max_retry_timeout: float | None = None
    client_timeout: int | None = None
    use_job_ticket: bool | None = None
    retry_on_worker_death: bool | None = None
    batch_policy: str | None = None
    preload: bool | None = None
    autoscale: bool | None = None
    use_venv: bool | None = None
    v2_inputs: tuple[dict[str, Any], ...] | None = None
    v2_outputs: tuple[dict[str, Any], ...] | None = None
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedModelConfig:
    """What holds for a model version."""

    min_workers: int | None
    max_workers: int | None
    batch_size: int
    #: Milliseconds; only `batchPolicy: delay` waits.
    max_batch_delay: int
    #: Seconds.
    response_timeout: float
    startup_timeout: float
    max_retry_timeout: float
    device_type: str | None
    device_ids: tuple[int, ...] | None
    job_queue_size: int
    #: Milliseconds, 0: no limit.
    client_timeout: int
    use_job_ticket: bool
    retry_on_worker_death: bool
    batch_policy: str
    preload: bool
    autoscale: bool
    use_venv: bool
    #: What KServe v2's metadata say of the model: tensors as {"name", "datatype", "shape"}.
    v2_inputs: tuple[dict[str, Any], ...]
    v2_outputs: tuple[dict[str, Any], ...]
    raw: dict[str, Any]


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _are_tensors(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(tensor, dict)
        and tensor.keys() == {"name", "datatype", "shape"}
        and isinstance(tensor["name"], str)
        and isinstance(tensor["datatype"], str)
        and isinstance(tensor["shape"], list)
        and all(_is_whole(size, -1) for size in tensor["shape"])
        for tensor in value
    )


#: yaml key: (attribute, test, what it must be)
_KEYS: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "minWorkers": ("min_workers", lambda v: _is_whole(v, 0), "a whole number"),
    "maxWorkers": ("max_workers", lambda v: _is_whole(v, 0), "a whole number"),
    "batchSize": ("batch_size", lambda v: _is_whole(v, 1), "a whole number from 1"),
    "maxBatchDelay": ("max_batch_delay", lambda v: _is_whole(v, 0), "a whole number of milliseconds"),
    "responseTimeout": ("response_timeout", _is_positive, "a number of seconds"),
    "startupTimeout": ("startup_timeout", _is_positive, "a number of seconds"),
    "deviceType": ("device_type", lambda v: v in ("cpu", "gpu"), "cpu or gpu"),
    "deviceIds": (
        "device_ids",
        lambda v: isinstance(v, list) and all(_is_whole(i, 0) for i in v),
        "a list of whole numbers",
    ),
    "jobQueueSize": ("job_queue_size", lambda v: _is_whole(v, 0), "a whole number"),
    "maxRetryTimeoutInSec": ("max_retry_timeout", _is_positive, "a number of seconds"),
    "clientTimeoutInMills": ("client_timeout", lambda v: _is_whole(v, 0), "a whole number of milliseconds"),
    "useJobTicket": ("use_job_ticket", lambda v: isinstance(v, bool), "true or false"),
    "retryOnWorkerDeath": ("retry_on_worker_death", lambda v: isinstance(v, bool), "true or false"),
    "batchPolicy": ("batch_policy", lambda v: v in ("greedy", "delay"), "greedy or delay"),
    "autoscale": ("autoscale", lambda v: isinstance(v, bool), "true or false"),
    "useVenv": ("use_venv", lambda v: isinstance(v, bool), "true or false"),
    "preload": ("preload", lambda v: isinstance(v, bool), "true or false"),
    "v2Inputs": ("v2_inputs", _are_tensors, "a list of tensors, each with name, datatype and shape"),
    "v2Outputs": ("v2_outputs", _are_tensors, "a list of tensors, each with name, datatype and shape"),
}

#: The keys that the server reads.
KNOWN = tuple(_KEYS)

#: Features of TorchServe that a file may ask for and that are not here yet.
LATER = (
    "sequenceBatching",
    "continuousBatching",
    "asyncCommunication",
    "parallelType",
    "parallelLevel",
)


def parse_model_config(text: str, where: str) -> tuple[ModelConfig, tuple[str, ...]]:
    """The server's part of a model-config.yaml, and sentences about what was ignored.

    As in TorchServe a wrong type costs the key and an unreadable file the whole; both are said.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return ModelConfig(), (
            f"{where} is no valid YAML, defaults are used: {' '.join(str(error).split())}",
        )
    if found is None:
        return ModelConfig(), ()
    if not isinstance(found, dict):
        return ModelConfig(), (f"{where} is not a mapping, defaults are used",)
    known: dict[str, Any] = {}
    warnings = []
    for key, (attribute, fits, wanted) in _KEYS.items():
        if key not in found:
            continue
        value = found[key]
        if fits(value):
            known[attribute] = tuple(value) if isinstance(value, list) else value
        else:
            warnings.append(f"{where}: {key}: {value!r} is ignored, it must be {wanted}")
    warnings += [f"{where}: {key} has no effect yet" for key in LATER if found.get(key)]
    low, high = known.get("min_workers"), known.get("max_workers")
    if low is not None and high is not None and high < low:
        warnings.append(f"Invalid model config in mar, minWorkers:{low}, maxWorkers:{high}")
        del known["min_workers"], known["max_workers"]
    return ModelConfig(**known, raw={str(key): value for key, value in found.items()}), tuple(warnings)


#: Names of the `models` JSON of config.properties that mean the same as in the file.
_JSON_NAMES = {
    "min_workers": "minWorkers",
    "max_workers": "maxWorkers",
    "batch_size": "batchSize",
    "max_batch_delay": "maxBatchDelay",
    "response_timeout": "responseTimeout",
    "startup_timeout": "startupTimeout",
}


def resolve(
    config: ModelConfig,
    entry: Mapping[str, Any] | None,
    settings: Settings,
    given: Mapping[str, Any] | None = None,
) -> ResolvedModelConfig:
    """What holds: a request's own parameters, model-config.yaml, the `models` JSON, config.properties,
    defaults.

    `given` has parameters by attribute name, None where a request did not name one.
    """
    defaults: dict[str, Any] = {
        "min_workers": None,
        "max_workers": None,
        "batch_size": 1,
        "max_batch_delay": 100,
        "response_timeout": settings.default_response_timeout,
        "startup_timeout": settings.default_startup_timeout,
        "max_retry_timeout": 300.0,
        "device_type": None,
        "device_ids": None,
        "job_queue_size": None,
        "client_timeout": 0,
        "use_job_ticket": False,
        "retry_on_worker_death": True,
        "batch_policy": "greedy",
        "preload": True,
        "autoscale": False,
        "use_venv": False,
        "v2_inputs": (),
        "v2_outputs": (),
        "raw": {},
    }
    values: dict[str, Any] = {}
    for attribute in (item.name for item in fields(ResolvedModelConfig)):
        value = (given or {}).get(attribute)
        if value is None:
            value = getattr(config, attribute)
        if value is None and entry and attribute in _JSON_NAMES:
            value = entry.get(_JSON_NAMES[attribute])
        values[attribute] = defaults[attribute] if value is None else value
    values["job_queue_size"] = values["job_queue_size"] or settings.job_queue_size
    return ResolvedModelConfig(**values)
