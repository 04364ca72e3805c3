"""The machine's figures, from this machine, and a process's memory."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from torchkeeper.machine.figures import FIGURES, proportional_set


def test_figures_are_what_their_units_say() -> None:
    found = {name: (read(), unit) for name, (read, unit) in FIGURES.items()}
    assert all(0 <= value <= 100 for value, unit in found.values() if unit == "percent")
    assert found["MemoryUsed"][0] > 10, "megabytes, not gigabytes"
    assert found["DiskUsage"][0] + found["DiskAvailable"][0] < 1 << 20, "gigabytes, not megabytes"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_has_its_part_of_what_it_shares_and_one_that_is_gone_has_nothing() -> None:
    resident = psutil.Process().memory_info().rss
    assert resident / 10 < proportional_set(os.getpid()) <= resident
    assert proportional_set(0x7FFFFFFF) == 0
