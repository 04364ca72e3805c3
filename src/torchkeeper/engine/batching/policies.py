"""The policies by the names that model-config.yaml's `batchPolicy` gives them: a new one is a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torchkeeper.config.model_key import SettingSource
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Policy
from torchkeeper.engine.batching.targeted import Targeted


def _adaptive(settings: ModelSettings) -> Policy:
    if settings.batch_size == 1:
        return Greedy(1)  # there is nobody to wait for
    told = settings.origins.get("max_batch_delay")
    is_set = told is not None and told.source is not SettingSource.DEFAULT
    return Adaptive(settings.batch_size, settings.max_batch_delay / 1000 if is_set else math.inf)


POLICIES: Mapping[str, Callable[[ModelSettings], Policy]] = {
    "adaptive": _adaptive,
    "greedy": lambda settings: Greedy(settings.batch_size),
    "delay": lambda settings: Delay(settings.batch_size, settings.max_batch_delay / 1000),
}


def make_policy(settings: ModelSettings) -> Policy:
    """The policy of one model version."""
    policy = POLICIES[settings.batch_policy](settings)
    if not settings.latency_target:
        return policy
    return Targeted(policy, settings.batch_size, settings.latency_target / 1000)
