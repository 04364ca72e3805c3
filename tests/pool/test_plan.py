"""What a pool is told: why workers import, or load, for themselves from the outset."""

from __future__ import annotations

import sys

import pytest

from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_settings import resolve
from torchkeeper.pool.launcher import Launch
from torchkeeper.pool.plan import Plan


def plan(config: str, *, on_gpu: bool = False) -> Plan:
    given, warnings = parse_model_config(config, "model-config.yaml")
    assert not warnings
    launch = Launch("m", None, {}, from_template=True)
    return Plan("m_1.0", resolve((given,)), 1, launch, on_gpu=on_gpu)


def test_by_default_imports_are_shared_on_linux_and_nobody_asks_for_weights() -> None:
    assert (plan("{}").imports_apart == "") is (sys.platform == "linux")
    assert plan("{}", on_gpu=True).weights_apart is None


@pytest.mark.parametrize(
    ("config", "on_gpu", "why"),
    [
        ("", False, ""),
        ("execution: {aot: true}", False, ""),
        ("pt2: {export: {aot_compile: true}}", False, ""),
        ("", True, "its workers have GPUs, and CUDA cannot be forked"),
        ("pt2: inductor", False, "pt2: what torch.compile makes is for one number of threads"),
        (
            "execution: {compile: {}}",
            False,
            "execution.compile: what torch.compile makes is for one number of threads",
        ),
        ("execution: {compile: false, aot: true}", False, ""),
        ("pt2: {compile: {enable: true}}", False, "pt2: "),
    ],
)
def test_what_keeps_the_model_from_being_shared_is_said(config: str, on_gpu: bool, why: str) -> None:
    told = plan(f"shareWeights: true\n{config}", on_gpu=on_gpu).weights_apart
    assert told is not None
    assert told.startswith(why)
    assert bool(told) is bool(why)
