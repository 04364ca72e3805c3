"""What answers say of server and models: TorchServe's bodies as types in its order, and KServe's metadata.

Pure but for /proc.

Source: TorchServe's management API, "Describe model" and "List models"; the Open Inference Protocol.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.config.model_key import In, SettingSource
from torchkeeper.config.model_settings import TABLE
from torchkeeper.errors import outward
from torchkeeper.models.registry import Models
from torchkeeper.models.version import ModelVersion
from torchkeeper.pool.life import State
from torchkeeper.pool.worker import Worker
from torchkeeper.wire.messages import TensorSpec

#: What TorchServe calls its extensions of KServe v2.
TORCHSERVES_EXTENSIONS = ("kserve", "kubeflow")
#: What clients wait for is READY; the rest tells why a worker is not.
_STATUS = {
    State.STARTING: "LOADING",
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.BUSY: "READY",
    State.DRAINING: "UNLOADING",
    State.LEAVING: "UNLOADING",
    State.STOPPED: "UNLOADING",
    State.BACKING_OFF: "BACKING_OFF",
    State.GIVEN_UP: "GIVEN_UP",
}


class WorkerDescription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One worker. `memory_usage` is its resident set in bytes, 0 before it runs; `pss`, where workers share
    the model, has its part only of what it shares with others.
    """

    id: str
    start_time: str
    status: str
    memory_usage: int
    pss: int | msgspec.UnsetType = msgspec.UNSET
    pid: int
    gpu: bool
    gpu_usage: str
    #: Requests that its process has answered, and by how much its resident set grows; only there once enough
    #: is known.
    requests: int | msgspec.UnsetType = msgspec.UNSET
    bytes_per_request: int | msgspec.UnsetType = msgspec.UNSET
    #: Only there once it is in force: its level, what its kernel says of it, and what is lacking.
    sandbox: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class QueueStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Requests that would still fit, and those that wait."""

    remaining_capacity: int
    pending_requests: int


class QuarantinedRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A request whose copies are refused: what it did to its workers, how often it came again."""

    digest: str
    cause: str
    seconds_left: int
    refused: int


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model."""

    modelName: str
    modelVersion: str
    modelUrl: str
    runtime: str
    minWorkers: int
    maxWorkers: int
    batchSize: int
    maxBatchDelay: int
    responseTimeout: int | float
    startupTimeout: int | float
    maxRetryTimeoutInSec: int | float
    clientTimeoutInMills: int
    parallelType: str
    parallelLevel: int
    deviceType: str
    deviceIds: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    continuousBatching: bool
    useJobTicket: bool
    useVenv: bool
    stateful: bool
    sequenceMaxIdleMSec: int
    sequenceTimeoutMSec: int
    maxNumSequence: int
    maxSequenceJobQueueSize: int
    loadedAtStartup: bool
    workers: tuple[WorkerDescription, ...]
    jobQueueStatus: QueueStatus
    customizedMetadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only there where they are known: the model's tensors.
    inputs: tuple[dict[str, Any], ...] | msgspec.UnsetType = msgspec.UNSET
    outputs: tuple[dict[str, Any], ...] | msgspec.UnsetType = msgspec.UNSET
    #: Only there, and true, where the number of workers follows the load.
    autoscale: bool | msgspec.UnsetType = msgspec.UNSET
    #: Only there where there are some: the requests that ended two workers.
    quarantine: tuple[QuarantinedRequest, ...] | msgspec.UnsetType = msgspec.UNSET
    #: Only there once a worker was lost: what is known of the last one.
    lastFailure: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only there where signatures are looked at: the archive's `state`, and what is `told` of it.
    signature: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    #: Only there where the workers' torch does not load weights safely: why, and what to do.
    torchWarning: str | msgspec.UnsetType = msgspec.UNSET
    #: Only there once it was applied: how the model is run.
    execution: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only there once the batching policy has learned something: that, in milliseconds and requests; or where
    #: costs or shapes bound batches: how.
    batching: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only there once it is known: whether workers share what one process has imported, or why not.
    imports: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only there where that was asked for: whether they share the model that one has loaded, or why not.
    weights: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: Only for those who ask: who says what holds.
    settingOrigins: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def describe(
    found: ModelVersion,
    metadata: dict[str, Any] | None = None,
    *,
    origins: bool = False,
    pss: Mapping[Worker, int] = MappingProxyType({}),
) -> Description:
    """A version as it is now; `metadata` is what its handler says of itself, `pss` what its workers' are."""
    about, config, values = found.about, found.about.config, found.values()
    shown = {row.name: _whole(values[row.attribute]) for row in TABLE if In.DESCRIPTION in row.places}
    shown["batchSize"] = found.together.most
    return Description(
        modelName=about.name,
        modelVersion=about.version,
        modelUrl=about.url,
        runtime=about.runtime,
        parallelType="",
        parallelLevel=0,
        deviceType="gpu" if found.on_gpu else "cpu",
        deviceIds=config.device_ids if config.device_ids else msgspec.UNSET,
        continuousBatching=False,
        stateful=False,
        sequenceMaxIdleMSec=0,
        sequenceTimeoutMSec=0,
        maxNumSequence=0,
        maxSequenceJobQueueSize=0,
        loadedAtStartup=about.at_startup,
        workers=tuple(_worker(worker, pss.get(worker, 0)) for worker in found.pool.workers),
        jobQueueStatus=QueueStatus(found.dispatcher.room, found.dispatcher.waiting),
        customizedMetadata=msgspec.UNSET if metadata is None else metadata,
        inputs=_inputs(found) or msgspec.UNSET,
        outputs=_outputs(found) or msgspec.UNSET,
        autoscale=True if config.autoscale else msgspec.UNSET,
        quarantine=_quarantine(found) or msgspec.UNSET,
        lastFailure=_last_failure(found) or msgspec.UNSET,
        signature=_signature(found) or msgspec.UNSET,
        torchWarning=found.torch_warning or msgspec.UNSET,
        execution=found.execution or msgspec.UNSET,
        batching=_batching(found) or msgspec.UNSET,
        imports=found.pool.sharing.imports or msgspec.UNSET,
        weights=found.pool.sharing.weights or msgspec.UNSET,
        settingOrigins=setting_origins(found) if origins else msgspec.UNSET,
        **shown,
    )


def _quarantine(found: ModelVersion) -> tuple[QuarantinedRequest, ...]:
    now = time.monotonic()
    return tuple(
        QuarantinedRequest(f"sha256:{digest}", held.cause, math.ceil(held.until - now), held.refused)
        for digest, held in found.dispatcher.quarantined().items()
    )


def _last_failure(found: ModelVersion) -> dict[str, Any]:
    failures = found.pool.failures
    return {} if failures.last is None else failures.last.described(failures.times)


def _batching(found: ModelVersion) -> dict[str, Any]:
    config, learned = found.about.config, found.dispatcher.learned()
    said: dict[str, Any] = {"batchBy": config.batch_by, "maxBatchCost": _whole(config.max_batch_cost)}
    if config.auto_batches:
        together = found.together
        said["batchSize"] = {
            "auto": together.most,
            **({"why": outward(together.why)} if together.why else {}),
        }
    said = {key: value for key, value in said.items() if value is not None}
    if "maxBatchCost" in said:
        said["batchCost"] = config.batch_cost
    if not learned:
        return {"policy": config.batch_policy, **said} if said else {}
    return {
        "policy": config.batch_policy,
        **said,
        "fixedMs": round(learned["fixed"] * 1000, 3),
        "eachMs": round(learned["each"] * 1000, 3),
        "concurrency": round(learned["concurrency"], 1),
        "meanWaitMs": round(learned["wait"] * 1000, 3),
        "meanFill": round(learned["fill"], 3),
    }


def _signature(found: ModelVersion) -> dict[str, str]:
    said = found.about.provenance
    return {} if said is None else {"state": said.state.value, "told": outward(said.told)}


def setting_origins(found: ModelVersion) -> dict[str, str]:
    """Who says what holds for a version, by the keys' names."""
    told = found.about.config.origins
    scaled = dict.fromkeys(("minWorkers", "maxWorkers"), SettingSource.REQUEST.value) if found.scaled else {}
    return {row.name: str(told[row.attribute]) for row in TABLE} | scaled


def server_metadata(*, repository: bool) -> dict[str, Any]:
    """What KServe v2 says of the server: name, version and extensions, the model repository if it is on."""
    extensions = ("binary_tensor_data", *(("model_repository",) if repository else ()))
    return {
        "name": "Torchserve",
        "version": TORCHSERVE_VERSION,
        "extensions": (*extensions, *TORCHSERVES_EXTENSIONS),
    }


def model_metadata(models: Models, found: ModelVersion) -> dict[str, Any]:
    """What KServe v2 says of a model."""
    return {
        "name": found.name,
        "versions": [other.version for other in models.versions(found.name)],
        "platform": "pytorch",
        "inputs": _inputs(found),
        "outputs": _outputs(found),
    }


def _inputs(found: ModelVersion) -> tuple[dict[str, Any], ...]:
    """The tensors that a model takes: what model-config.yaml says, else what its file does."""
    return found.about.config.v2_inputs or tuple(map(_tensor, found.signature.inputs))


def _outputs(found: ModelVersion) -> tuple[dict[str, Any], ...]:
    return found.about.config.v2_outputs or tuple(map(_tensor, found.signature.outputs))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """A tensor's name, and its datatype and shape where they are known."""
    known = {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
    return {key: value for key, value in known.items() if value is not None}


def _worker(worker: Worker, pss: int) -> WorkerDescription:
    pid = worker.process.pid if worker.process is not None else None
    started = datetime.fromtimestamp(worker.started_at, UTC)
    growth = worker.wear.growth()
    return WorkerDescription(
        id=str(worker.number),
        start_time=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        status=_STATUS[worker.life.state],
        memory_usage=worker.resident,
        pss=pss or msgspec.UNSET,
        pid=-1 if pid is None else pid,
        gpu=worker.spec.gpu_id is not None,
        gpu_usage="N/A" if worker.spec.gpu_id is None else f"gpuId::{worker.spec.gpu_id}",
        requests=msgspec.UNSET if growth is None else worker.answered,
        bytes_per_request=msgspec.UNSET if growth is None else round(growth),
        sandbox=_sandbox(worker) or msgspec.UNSET,
    )


def _sandbox(worker: Worker) -> dict[str, Any]:
    found = worker.confinement
    if found is None:
        return {}
    return {"level": found.level, **found.parts, **({"lacking": found.lacking} if found.lacking else {})}


def _whole(value: Any) -> Any:
    """TorchServe's timeouts are whole seconds; a fraction, which only torchkeeper takes, is shown as is."""
    return int(value) if isinstance(value, float) and value == int(value) else value
