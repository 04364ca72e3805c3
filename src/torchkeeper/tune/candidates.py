"""What there is to try: variants of execution, and how many workers, threads and rows serve them. Pure.

The server is the judge of what a model and a machine can do: what it refuses is told in its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from torchkeeper.config.model_rules import BATCH_POLICIES
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.tune.cost import BatchCost
from torchkeeper.wire.execution import AS_IT_IS, Compile, Execution

#: Batch sizes that are tried at first.
BATCHES = (1, 4, 16, 64)
#: Milliseconds that `batchPolicy: delay` waits.
DELAYS = (1, 5)
#: The batching policies, and the one that holds by itself.
POLICIES = BATCH_POLICIES
DEFAULT_POLICY = ModelSettings().batch_policy
#: Variants whose workers compile while they load.
_COMPILED = ("aot", "compile")
#: Those, in the order in which they are tried.
_COMPILING = (
    *(Execution(aot=True), Execution(aot=True, dtype="bfloat16")),
    *(Execution(compile=Compile()), Execution(compile=Compile(), dtype="bfloat16")),
)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A set-up of a model."""

    execution: Execution = AS_IT_IS
    workers: int = 1
    batch_size: int = 1
    policy: str = DEFAULT_POLICY
    #: Milliseconds, for `delay`.
    delay: int | None = None

    def config(self) -> dict[str, Any]:
        """Its keys of model-config.yaml."""
        section = msgspec.to_builtins(self.execution)
        delay = {} if self.delay is None else {"maxBatchDelay": self.delay}
        return {
            "batchSize": self.batch_size,
            "batchPolicy": self.policy,
            **delay,
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            **({"execution": section} if section else {}),
        }

    def __str__(self) -> str:
        threads = self.execution.threads
        each = "" if threads is None else f" of {threads} {'thread' if threads == 1 else 'threads'}"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return (
            f"{variant_name(self.execution)}, {workers}{each}, batches of {self.batch_size}, {self.batching}"
        )

    @property
    def batching(self) -> str:
        """Its batching policy, for people."""
        return self.policy if self.delay is None else f"{self.policy} of {self.delay} ms"


def variant_name(execution: Execution) -> str:
    """A variant without its threads, for people: "eager", or what was changed."""
    parts = [
        *(["frozen"] if execution.freeze else []),
        *([execution.dtype] if execution.dtype else []),
        *([execution.memory_format] if execution.memory_format else []),
        *(["compiled (aot)"] if execution.aot else []),
        *(["compiled (torch.compile)"] if execution.compile else []),
    ]
    return " + ".join(parts) or "eager"


def is_compiled(execution: Execution) -> bool:
    """Whether its workers compile, which takes them long."""
    return any(getattr(execution, name) for name in _COMPILED)


def variants(*, scripted: bool | None, samples_fit: bool) -> tuple[Execution, ...]:
    """The variants that a model may have, the plain one first, compiled ones last.

    Args:
        scripted: whether it is TorchScript; None: nobody knows.
        samples_fit: whether the samples can be those of a warm-up, without which nothing is compiled.
    """
    eager = (
        Execution(memory_format="channels_last"),
        Execution(dtype="bfloat16"),
        Execution(memory_format="channels_last", dtype="bfloat16"),
        *(_COMPILING if samples_fit else ()),
    )
    frozen = (Execution(freeze=True),)
    return (AS_IT_IS, *(() if scripted is False else frozen), *(() if scripted else eager))


def needs(execution: Execution) -> tuple[Execution, ...]:
    """The variants with a part of this one's keys: where one of those is refused, this one is too."""
    said = msgspec.to_builtins(msgspec.structs.replace(execution, threads=None))
    if len(said) < 2:
        return ()
    return tuple(msgspec.convert({key: value}, Execution) for key, value in said.items())


def splits(cores: int) -> tuple[tuple[int, int], ...]:
    """(workers, threads of each) that use all cores: one worker, one for each core, and between them."""
    between = [(workers, cores // workers) for workers in (2, cores // 2) if 1 < workers < cores]
    return tuple(dict.fromkeys(((1, cores), *between, (cores, 1))))


def worth_compiling(plain: BatchCost, rows: int, floor: float) -> str | None:
    """Why a model is not compiled: a row of its batches costs its worker too little; None: it may gain.

    Args:
        plain: the eager model's cost in one thread.
        rows: of the batches that it is judged by.
        floor: seconds below which the server's own work for a request is the greater part.
    """
    each = plain.of(rows) / rows
    if each >= floor:
        return None
    return (
        f"a row of {rows} takes {each * 1e6:.0f} µs in all, of which compiling could save a part: less than "
        f"the {floor * 1e6:.0f} µs from which on it pays"
    )


def entrants(
    costs: Iterable[tuple[Execution, BatchCost]], cores: int, connections: int
) -> list[tuple[float, Candidate]]:
    """Every variant with the splits and batch sizes that fit it, and the rate foretold; the best first.

    Args:
        costs: variants with their threads, and what a batch costs one worker.
        cores: that the workers share.
        connections: requests that wait at once.
    """
    found = []
    workers_of = {threads: workers for workers, threads in splits(cores)}
    for execution, cost in costs:
        workers = workers_of.get(execution.threads or 0, 1)
        for rows in BATCHES:
            filled = min(rows, max(connections / workers, 1.0))
            candidate = Candidate(execution=execution, workers=workers, batch_size=rows)
            found.append((cost.rate(filled, workers), candidate))
    return sorted(found, key=lambda pair: -pair[0])


def best_variants(foretold: Sequence[tuple[float, Candidate]], count: int) -> list[tuple[float, Candidate]]:
    """Those of the first `count` variants, whatever their threads."""
    names = list(dict.fromkeys(variant_name(one.execution) for _, one in foretold))[:count]
    return [(rate, one) for rate, one in foretold if variant_name(one.execution) in names]


def neighbours(candidate: Candidate) -> list[Candidate]:
    """The same with another policy, which batches of one do not feel, or with half and twice the size."""
    replace = msgspec.structs.replace
    found = []
    for policy in POLICIES if candidate.batch_size > 1 else ():
        for delay in DELAYS if policy == "delay" else (None,):
            found.append(replace(candidate, policy=policy, delay=delay))
    for rows in (candidate.batch_size // 2, candidate.batch_size * 2):
        if 1 <= rows <= BATCHES[-1]:
            found.append(replace(candidate, batch_size=rows))
    return [one for one in found if one != candidate]


def plainer(candidate: Candidate) -> dict[str, Candidate]:
    """For each key that it sets, the same candidate without it: what the key is worth."""
    replace, execution = msgspec.structs.replace, candidate.execution
    found = {
        "batchSize": replace(candidate, batch_size=1),
        "batchPolicy": replace(candidate, policy=DEFAULT_POLICY, delay=None),
        "memoryFormat": replace(candidate, execution=replace(execution, memory_format="")),
        "dtype": replace(candidate, execution=replace(execution, dtype="")),
        "freeze": replace(candidate, execution=replace(execution, freeze=False)),
        "aot": replace(candidate, execution=replace(execution, aot=False)),
        "compile": replace(candidate, execution=replace(execution, compile=None)),
    }
    return {key: one for key, one in found.items() if one != candidate}
