"""@timed records a step only where model-config.yaml asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.handler.timing import timed
from torchkeeper.testing import MockContext


class Handler:
    def __init__(self, context: Any) -> None:
        self.context = context

    @timed
    def preprocess(self, data: int, more: int = 0) -> int:
        """Adds."""
        return data + more


@pytest.mark.parametrize(
    "config", [{}, {"handler": {}}, {"handler": {"profile": False}}, {"handler": None}, None]
)
def test_nothing_is_recorded_unless_asked_for(config: Any) -> None:
    context = MockContext()
    context.model_yaml_config = config
    assert Handler(context).preprocess(1, more=2) == 3
    assert context.metrics.drain() == []


def test_a_step_is_recorded_in_milliseconds() -> None:
    context = MockContext()
    context.model_yaml_config = {"handler": {"profile": True}}
    assert Handler(context).preprocess(1, more=2) == 3
    (sample,) = context.metrics.drain()
    assert (sample.name, sample.unit) == ("ts_handler_preprocess", "Milliseconds")
    assert 0 <= sample.value < 1000


def test_without_a_context_the_method_just_runs() -> None:
    assert Handler(None).preprocess(1) == 1
    assert Handler.preprocess.__doc__ == "Adds."
