"""Decisions that cannot be obeyed: said once, and done without."""

from __future__ import annotations

import pytest

from engine.batching.views import view
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.obeyed import Obeyed
from torchkeeper.engine.batching.policy import Send, View


class Wanting(Greedy):
    """Decides what a test wants."""

    def __init__(self, *wants: Send | float | None) -> None:
        super().__init__(4)
        self.wants = list(wants)

    def decide(self, view: View, now: float) -> Send | float | None:
        return self.wants.pop(0)


def test_what_can_be_done_is_done(caplog: pytest.LogCaptureFixture) -> None:
    wants = (Send(0, 3), 1.5, None)
    obeyed = Obeyed(Wanting(*wants))
    assert tuple(obeyed.decide(view(3, 0), now=1.0) for _ in wants) == wants
    assert not caplog.records


def test_what_cannot_is_said_once_and_one_request_goes(caplog: pytest.LogCaptureFixture) -> None:
    obeyed = Obeyed(Wanting(Send(7, 1), Send(7, 1), Send(0, 0)))
    assert [obeyed.decide(view(3, 0), now=1.0) for _ in range(3)] == [Send(0, 1)] * 3
    assert [line.message for line in caplog.records] == [
        "the batching policy Wanting wanted to send to worker 7, which is not there",
        "the batching policy Wanting wanted to send 0 requests",
    ]
