"""The table of what can be set for a model: one row per key, whoever sets it; given, then resolved.

A row has the key's names in model-config.yaml, in the JSON of the keys `models` and `model_snapshot`, in the
parameters of a registration and in descriptions, what a value must be, its default and unit. Everything that
is said of a model passes through here. Pure. Source of names and of what is read leniently: TorchServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, cast

from torchkeeper.config import batch_rules, execution_rules
from torchkeeper.config import model_rules as rules
from torchkeeper.config.model_key import In, ModelKey, SettingSource, Told
from torchkeeper.config.model_rules import (
    BATCH_POLICIES,
    Rule,
    boolean,
    choice,
    count,
    milliseconds,
    numbers,
    seconds,
    tensors,
    whole,
)
from torchkeeper.wire.execution import Execution

T = TypeVar("T")
D = TypeVar("D")

#: TorchServe's values of a manifest's `runtime`; here all of them mean Python.
RUNTIMES = ("python", "python2", "python3")


@dataclass(frozen=True)
class GivenSettings:
    """What is said of a model, by attribute; nothing of what nobody says."""

    told: Mapping[str, Told] = field(default_factory=dict)
    #: All of a model-config.yaml, as handlers see it.
    raw: dict[str, Any] = field(default_factory=dict)
    #: Sentences for which the model is refused.
    refused: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """What is said, without who says it."""
        return {attribute: told.value for attribute, told in self.told.items()}


_FILES = In.YAML | In.MODELS | In.SNAPSHOT | In.DESCRIPTION


def _row(
    rule: Rule[T],
    default: D,
    name: str,
    places: In,
    meaning: str,
    *,
    parameter: str = "",
    unit: str = "",
    setting: str = "",
) -> T | D:
    row = (name, rule, default, places, meaning, parameter, unit, setting)
    return cast("T | D", field(default=default, metadata={"row": row}))


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What holds for a model version: every key of the table, and where its value is from."""

    min_workers: int | None = _row(
        count, None, "minWorkers", _FILES, "workers to start with", parameter="initial_workers"
    )
    max_workers: int | None = _row(count, None, "maxWorkers", _FILES, "workers at most, with `autoscale`")
    batch_size: int | Literal["auto"] = _row(
        batch_rules.batch_size,
        1,
        "batchSize",
        _FILES,
        "requests in a batch at most; [`auto`](batching.md#batchsize-auto): as many as warm-up shows, to 64",
        parameter="batch_size",
    )
    max_batch_delay: int = _row(
        milliseconds,
        100,
        "maxBatchDelay",
        _FILES,
        "how long `batchPolicy: delay` waits for a full batch, and `adaptive` at most where it is set",
        parameter="max_batch_delay",
        unit="ms",
    )
    response_timeout: float = _row(
        seconds,
        120.0,
        "responseTimeout",
        _FILES,
        "how long a batch may take",
        parameter="response_timeout",
        unit="s",
        setting="default_response_timeout",
    )
    startup_timeout: float = _row(
        seconds,
        120.0,
        "startupTimeout",
        _FILES,
        "how long a worker may load",
        parameter="startup_timeout",
        unit="s",
        setting="default_startup_timeout",
    )
    runtime: str | None = _row(
        choice(*RUNTIMES),
        None,
        "runtimeType",
        In.MODELS | In.SNAPSHOT,
        "the manifest's runtime; all mean Python",
        parameter="runtime",
    )
    parallel_level: int = _row(whole(0), 0, "parallelLevel", In.SNAPSHOT, "kept in snapshots; no effect yet")
    max_retry_timeout: float = _row(
        seconds,
        300.0,
        "maxRetryTimeoutInSec",
        In.YAML | In.DESCRIPTION,
        "how long workers that fail are started again",
        unit="s",
    )
    client_timeout: int = _row(
        milliseconds,
        0,
        "clientTimeoutInMills",
        In.YAML | In.DESCRIPTION,
        "how long a request may wait; 0: for ever",
        unit="ms",
    )
    job_queue_size: int = _row(
        whole(0),
        100,
        "jobQueueSize",
        In.YAML,
        "requests that may wait; 0: the setting's",
        setting="job_queue_size",
    )
    job_queue_bytes: int = _row(
        whole(0, 2**53, what=" of bytes"),
        1 << 30,
        "jobQueueBytes",
        In.YAML,
        "bytes that they may have; 0: the setting's",
        setting="job_queue_bytes",
    )
    device_type: str | None = _row(
        choice("cpu", "gpu"), None, "deviceType", In.YAML, "where the model runs: cpu or gpu"
    )
    device_ids: tuple[int, ...] | None = _row(
        numbers, None, "deviceIds", In.YAML, "the GPUs that workers take turns on"
    )
    use_job_ticket: bool = _row(
        boolean,
        False,
        "useJobTicket",
        In.YAML | In.DESCRIPTION,
        "take a request only if a worker is free for it",
    )
    use_venv: bool = _row(
        boolean, False, "useVenv", In.YAML | In.DESCRIPTION, "a virtual environment for its requirements"
    )
    retry_on_worker_death: bool = _row(
        boolean, True, "retryOnWorkerDeath", In.YAML, "a batch whose worker died is tried once more"
    )
    max_requests_per_worker: int = _row(
        whole(0),
        0,
        "maxRequestsPerWorker",
        In.YAML,
        "a worker that has answered so many is replaced; 0: it stays",
    )
    max_worker_rss: int = _row(
        whole(0, what=" of megabytes"),
        0,
        "maxWorkerRss",
        In.YAML,
        "a worker with more memory (resident set) is replaced; 0: it stays",
        unit="MB",
    )
    split_failed_batches: bool = _row(
        boolean,
        True,
        "splitFailedBatches",
        In.YAML,
        "a batch that fails is run again in halves, so that the guilty fail alone",
    )
    quarantine_time: int = _row(
        whole(0, what=" of seconds"),
        3600,
        "quarantineTimeInSec",
        In.YAML,
        "how long copies of a request that ended two workers are refused; 0: not at all",
        unit="s",
    )
    batch_policy: str = _row(
        choice(*BATCH_POLICIES),
        "adaptive",
        "batchPolicy",
        In.YAML,
        "adaptive: an idle worker waits where that pays; greedy: never; delay: as TorchServe",
    )
    latency_target: int = _row(
        milliseconds,
        0,
        "latencyTarget",
        In.YAML,
        "in how long 99 of 100 requests that are taken are to be answered; 0: no matter",
        unit="ms",
    )
    batch_cost: str = _row(
        batch_rules.batch_cost,
        batch_rules.ITEMS,
        "batchCost",
        In.YAML,
        "what a request costs: items (1), bytes, elements of its tensors, or what a request header says",
    )
    max_batch_cost: float | None = _row(
        batch_rules.max_batch_cost,
        None,
        "maxBatchCost",
        In.YAML,
        "what a batch of several requests costs at most",
    )
    batch_by: str | None = _row(
        batch_rules.batch_by, None, "batchBy", In.YAML, "shape: a batch has tensors of equal shapes only"
    )
    preload: bool = _row(boolean, True, "preload", In.YAML, "workers are forked from a process with torch")
    share_imports: bool = _row(
        boolean, True, "shareImports", In.YAML, "workers are forked from one that has imported the handler"
    )
    share_weights: bool = _row(
        boolean, False, "shareWeights", In.YAML, "workers are forked from one that has loaded the model"
    )
    autoscale: bool = _row(
        boolean, False, "autoscale", In.YAML, "workers between minWorkers and maxWorkers by load"
    )
    sandbox: str = _row(
        rules.sandboxes,
        "default",
        "sandbox",
        In.YAML | In.MODELS,
        "what its workers may do: off, default or strict",
        setting="sandbox",
    )
    sandbox_network: str | None = _row(
        rules.networks,
        None,
        "sandboxNetwork",
        In.YAML | In.MODELS,
        "whether they have the network: any or none",
        setting="sandbox_network",
    )
    sandbox_limits: Mapping[str, int] | None = _row(
        rules.limits,
        None,
        "sandboxLimits",
        In.YAML | In.MODELS,
        "what each may use: nofile, nproc, as, fsize",
        setting="sandbox_limits",
    )
    v2_inputs: tuple[dict[str, Any], ...] = _row(
        tensors, (), "v2Inputs", In.YAML, "what KServe v2's metadata say that it takes"
    )
    v2_outputs: tuple[dict[str, Any], ...] = _row(
        tensors, (), "v2Outputs", In.YAML, "what KServe v2's metadata say that it gives"
    )
    execution: Execution | None = _row(  # noqa: RUF009 - a row as all others
        execution_rules.execution,
        None,
        execution_rules.SECTION,
        In.YAML,
        "how the model is run; see [execution](execution.md)",
    )
    tuned_for: Mapping[str, Any] | None = _row(
        rules.machine, None, "tunedFor", In.YAML, "where `torchkeeper tune` measured; elsewhere a warning"
    )
    raw: dict[str, Any] = field(default_factory=dict)
    #: Sentences for which the model is refused.
    refused: tuple[str, ...] = ()
    origins: Mapping[str, Told] = field(default_factory=dict)

    @property
    def most_in_batch(self) -> int:
        """Requests that a batch may have at most, whatever workers find out."""
        return batch_rules.most_in_batch(self.batch_size)

    @property
    def auto_batches(self) -> bool:
        """Whether a batch has several requests only where a worker's warm-up has shown that it may."""
        return self.batch_size == batch_rules.AUTO


TABLE: tuple[ModelKey, ...] = tuple(
    ModelKey(one.name, *one.metadata["row"]) for one in fields(ModelSettings) if "row" in one.metadata
)


def resolve(layers: Iterable[GivenSettings], settings: object = None) -> ModelSettings:
    """What holds: the first of the layers that says something, then the server's settings, then defaults."""
    layers = tuple(layers)
    values: dict[str, Any] = {}
    origins: dict[str, Told] = {}
    for row in TABLE:
        said = [one.told[row.attribute] for one in layers if row.attribute in one.told]
        told = _met(row, said, settings) if row.rule.meet else next(iter(said), None)
        if row.setting and settings is not None and (told is None or not told.value):
            told = Told(getattr(settings, row.setting), SettingSource.SETTING, row.setting)
        origins[row.attribute] = told or Told(row.default, SettingSource.DEFAULT)
        values[row.attribute] = origins[row.attribute].value
    raw = next((one.raw for one in layers if one.raw), {})
    refused = tuple(sentence for one in layers for sentence in one.refused)
    return ModelSettings(**values, raw=raw, refused=refused, origins=origins)


def _met(row: ModelKey, said: Iterable[Told], settings: object) -> Told | None:
    """What the operator says, of the model or else of all; an archive can only ask for less than that."""
    by_source = {told.source: told for told in said}
    operators, archives = by_source.get(SettingSource.MODELS), by_source.get(SettingSource.YAML)
    origin = getattr(settings, "origins", {}).get(row.setting)
    if operators is None and origin is not None and str(origin) != "default":
        operators = Told(getattr(settings, row.setting), SettingSource.SETTING, row.setting)
    if operators is None or archives is None:
        return operators or archives
    assert row.rule.meet is not None
    value = row.rule.meet(operators.value, archives.value)
    return operators if value == operators.value else Told(value, archives.source, archives.place)


def from_request(parameters: Mapping[str, Any]) -> GivenSettings:
    """What a registration says; its parameters were checked when they were read."""
    return GivenSettings(
        {
            row.attribute: Told(parameters[row.parameter], SettingSource.REQUEST, row.parameter)
            for row in TABLE
            if row.parameter and parameters.get(row.parameter) not in (None, "")
        }
    )


def from_json(
    found: Mapping[str, Any], path: str, source: SettingSource, complaints: list[str]
) -> GivenSettings:
    """What an object of the `models` JSON or of a snapshot says at that path.

    Numbers may stand in texts. A number out of range is a complaint, and the default holds; of a snapshot a
    negative one is refused, of the `models` JSON 0 counts as nothing wherever it stands.

    Raises:
        ValueError: a value that TorchServe cannot read either; names it and its path.
    """
    place = In.SNAPSHOT if source is SettingSource.SNAPSHOT else In.MODELS
    told: dict[str, Told] = {}
    for row in TABLE:
        given = found.get(row.name)
        if place not in row.places or given is None:
            continue
        complaint = f"{path}/{row.complaint(given)}"
        try:
            value = row.rule.read(given)
        except TypeError:
            if source is SettingSource.SNAPSHOT:
                raise ValueError(complaint) from None
            complaints.append(complaint)
            continue
        except ValueError:
            raise ValueError(complaint) from None
        if isinstance(value, int | float) and value < 0 and source is SettingSource.SNAPSHOT:
            raise ValueError(complaint)
        if value == 0 and source is SettingSource.MODELS:
            complaints.append(f"{path}/{row.name}: 0 counts as nothing here")
        elif row.rule.fits(value):
            told[row.attribute] = Told(value, source, f"{path}/{row.name}")
        else:
            complaints.append(complaint)
    return GivenSettings(told)
