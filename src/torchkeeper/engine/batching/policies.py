"""The policies by the names that model-config.yaml's `batchPolicy` gives them: a new one is a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torchkeeper.config.model_key import SettingSource
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import LaneOf, Policy, lane_of, proved_lane
from torchkeeper.engine.batching.targeted import Targeted


def _adaptive(settings: ModelSettings) -> Policy:
    most = settings.most_in_batch
    if most == 1:
        return Greedy(1)  # there is nobody to wait for
    told = settings.origins.get("max_batch_delay")
    is_set = told is not None and told.source is not SettingSource.DEFAULT
    return Adaptive(most, settings.max_batch_delay / 1000 if is_set else math.inf, _lane(settings))


def _lane(settings: ModelSettings) -> LaneOf:
    return proved_lane if settings.auto_batches else lane_of


POLICIES: Mapping[str, Callable[[ModelSettings], Policy]] = {
    "adaptive": _adaptive,
    "greedy": lambda settings: Greedy(settings.most_in_batch, _lane(settings)),
    "delay": lambda settings: Delay(settings.most_in_batch, settings.max_batch_delay / 1000, _lane(settings)),
}


def make_policy(settings: ModelSettings) -> Policy:
    """The policy of one model version."""
    policy = POLICIES[settings.batch_policy](settings)
    if not settings.latency_target:
        return policy
    return Targeted(policy, settings.most_in_batch, settings.latency_target / 1000)
