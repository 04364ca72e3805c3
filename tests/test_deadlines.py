"""How long beginnings and ends may take fits into what surrounds them."""

from __future__ import annotations

from torchkeeper.deadlines import FORK, KILLED, LAST, STEP, TEMPLATE_START, TEMPLATE_STOP, WORKER_STOP
from torchkeeper.manifest.pod import PRE_STOP, grace
from torchkeeper.manifest.values import Values


def test_a_pod_waits_for_the_last_resort() -> None:
    for drain in ({}, {"drain_delay": 20, "drain_timeout": 120}):
        made = Values("m", "torchkeeper:1", "pvc://models", **drain)
        ends = made.drain_delay + made.drain_timeout + WORKER_STOP + LAST
        assert ends < grace(made) - PRE_STOP


def test_the_last_resort_comes_after_what_it_is_for() -> None:
    """The end of the template, and killing what does not leave, are steps within it."""
    assert TEMPLATE_STOP <= STEP
    assert STEP + KILLED < LAST
    assert FORK < TEMPLATE_START
