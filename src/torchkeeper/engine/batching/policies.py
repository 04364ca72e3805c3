"""The policies by the names that model-config.yaml's `batchPolicy` gives them: a new one is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Policy


@dataclass(frozen=True)
class BatchRules:
    """What a model's settings say about its batches."""

    size: int
    #: Milliseconds.
    max_delay: float


POLICIES: Mapping[str, Callable[[BatchRules], Policy]] = {
    "greedy": lambda rules: Greedy(rules.size),
    "delay": lambda rules: Delay(rules.size, rules.max_delay / 1000),
}


def make_policy(name: str, rules: BatchRules) -> Policy:
    """The policy of a name, for one model version."""
    return POLICIES[name](rules)
