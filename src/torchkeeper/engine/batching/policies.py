"""The policies by the names that model-config.yaml's `batchPolicy` gives them: a new one is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Policy

POLICIES: Mapping[str, Callable[[ModelSettings], Policy]] = {
    "greedy": lambda settings: Greedy(settings.batch_size),
    "delay": lambda settings: Delay(settings.batch_size, settings.max_batch_delay / 1000),
}


def make_policy(settings: ModelSettings) -> Policy:
    """The policy of one model version."""
    return POLICIES[settings.batch_policy](settings)
