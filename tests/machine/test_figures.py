"""The machine's figures, from this machine."""

from __future__ import annotations

from torchkeeper.machine.figures import FIGURES


def test_figures_are_what_their_units_say() -> None:
    found = {name: (read(), unit) for name, (read, unit) in FIGURES.items()}
    assert all(0 <= value <= 100 for value, unit in found.values() if unit == "percent")
    assert found["MemoryUsed"][0] > 10, "megabytes, not gigabytes"
    assert found["DiskUsage"][0] + found["DiskAvailable"][0] < 1 << 20, "gigabytes, not megabytes"
