"""What a model can ask for that torchkeeper does not have: one table, and one sentence wherever it is told.

Registration, `torchkeeper doctor`, the archiver and the workers read it; a row goes when its feature comes.
Pure. Source of the ways to ask: TorchServe's model-config.yaml, its manifest and its built-in handlers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feature:
    """Something of TorchServe's that is not here."""

    name: str
    #: What to do without it.
    instead: str
    #: Whether it is to come.
    coming: bool = True

    def asked_by(self, who: str) -> str:
        """The sentence that refuses `who` asks for it."""
        whether = "does not have yet" if self.coming else "does not have and will not get"
        return f"{who} asks for {self.name}, which torchkeeper {whether}; {self.instead}"


SEQUENCES = Feature("sequence batching", "keep the state of a sequence outside the model")
CONTINUOUS = Feature(
    "continuous batching", "without the key, batches run to their end before the next one begins"
)
ASYNCHRONOUS = Feature(
    "asynchronous handlers", "write `def handle`, and give the model more workers or a batchSize"
)
PROCESSES = Feature(
    "models over several processes", "a model must fit into one process, or its handler start others itself"
)
GPUS = Feature("workers with several GPUs", "leave parallelLevel out: each worker gets one GPU")
WORKFLOWS = Feature("workflows", "register the models one by one, and call one after the other")
INTEL = Feature("the Intel extension for GPUs", "models run as their handlers place them")
DEBUG = Feature("debug mode", "log_level=debug says more")
CPP = Feature("the C++ back end", "archive with --runtime python and a Python handler", coming=False)
TENSORRT_LLM = Feature("TensorRT-LLM's engine", "trtllm-serve runs it as a server of its own", coming=False)
VLLM = Feature("vLLM's engine", "vllm serve runs it as a server of its own", coming=False)
DALI = Feature("DALI's pipelines", "image_classifier decodes and scales pictures itself", coming=False)

#: Keys of model-config.yaml that ask for something where they are true.
KEYS: Mapping[str, Feature] = {
    "sequenceBatching": SEQUENCES,
    "continuousBatching": CONTINUOUS,
    "asyncCommunication": ASYNCHRONOUS,
}
#: Values of its key `parallelType`; whatever the case of their letters.
PARALLEL_TYPES: Mapping[str, Feature] = {"pp": PROCESSES, "tp": PROCESSES, "pptp": PROCESSES}
#: Its keys that mean something together with what others ask for.
BELONGING: Mapping[str, tuple[str, Feature]] = {
    "sequenceMaxIdleMSec": ("sequenceBatching", SEQUENCES),
    "sequenceTimeoutMSec": ("sequenceBatching", SEQUENCES),
    "maxNumSequence": ("sequenceBatching", SEQUENCES),
    "maxSequenceJobQueueSize": ("sequenceBatching", SEQUENCES),
    "parallelLevel": ("parallelType", PROCESSES),
    "torchrun": ("parallelType", PROCESSES),
    "pippy": ("parallelType", PROCESSES),
    "deepspeed": ("parallelType", PROCESSES),
}
#: Values of a manifest's `runtime`.
RUNTIMES: Mapping[str, Feature] = {"LSP": CPP}
#: Names of TorchServe's built-in handlers.
HANDLERS: Mapping[str, Feature] = {
    "dali_image_classifier": DALI,
    "dali_handler": DALI,
    "trt_llm_handler": TENSORRT_LLM,
    "vllm_handler": VLLM,
}


@dataclass(frozen=True)
class Missing:
    """What a model asks for and cannot have."""

    #: What asks: a key of model-config.yaml, or `runtime` or `handler`.
    key: str
    sentence: str


def missing_in_config(config: Mapping[str, Any]) -> tuple[Missing, ...]:
    """What a model-config.yaml asks for; as in TorchServe a value of another type asks for nothing."""
    found = [(key, feature) for key, feature in KEYS.items() if config.get(key) is True]
    kind = str(config.get("parallelType") or "").lower()
    if kind in PARALLEL_TYPES:
        found.append(("parallelType", PARALLEL_TYPES[kind]))
    elif kind == "custom" and parallel_level(config) > 1:
        found.append(("parallelType", GPUS))
    return tuple(Missing(key, feature.asked_by(_said(key, config[key]))) for key, feature in found)


def missing_handler(name: str) -> Missing | None:
    """What a handler of that name would be; None where it is no missing one of TorchServe's."""
    feature = HANDLERS.get(name)
    return Missing("handler", feature.asked_by(f"handler {name}")) if feature else None


def missing_asynchronous(entry: str) -> Missing:
    """What an entry point that is defined like that would be."""
    return Missing("handler", ASYNCHRONOUS.asked_by(entry))


def missing_archive(name: str) -> Missing | None:
    """What an archive of that file name holds; None where it may be a model."""
    return Missing("workflow", WORKFLOWS.asked_by(name)) if name.endswith(".war") else None


def missing_runtime(name: str) -> Missing | None:
    """What a runtime of that name would be; None where handlers of it run here."""
    feature = RUNTIMES.get(name.upper())
    return Missing("runtime", feature.asked_by(f"runtime {name}")) if feature else None


def parallel_level(config: Mapping[str, Any]) -> int:
    """Processes, or GPUs, for each worker: the greatest number that the file names."""
    torchrun = config.get("torchrun")
    named = (config.get("parallelLevel"), torchrun.get("nproc-per-node") if isinstance(torchrun, dict) else 0)
    return max((level for level in named if isinstance(level, int)), default=0)


def _said(key: str, value: object) -> str:
    return f"{key} in model-config.yaml" if value is True else f"{key}: {value} in model-config.yaml"
