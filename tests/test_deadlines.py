"""How long beginnings and ends may take fits into what surrounds them."""

from __future__ import annotations

from torchkeeper.deadlines import DRAIN, FORK, KILLED, LAST, STEP, TEMPLATE_START, TEMPLATE_STOP, WORKER_STOP
from torchkeeper.manifest.pod import GRACE, PRE_STOP


def test_a_pod_waits_for_the_last_resort() -> None:
    assert DRAIN + WORKER_STOP + LAST < GRACE - PRE_STOP


def test_the_last_resort_comes_after_what_it_is_for() -> None:
    """The end of the template, and killing what does not leave, are steps within it."""
    assert TEMPLATE_STOP <= STEP
    assert STEP + KILLED < LAST
    assert FORK < TEMPLATE_START
