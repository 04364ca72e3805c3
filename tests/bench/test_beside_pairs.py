"""Figures before and after: the median of the ratios of neighbouring turns."""

import pytest

from beside import Pair


def test_a_slow_moment_of_the_machine_meets_both() -> None:
    pair = Pair(before=[100, 50, 100], after=[110, 55, 90])
    assert pair.ratio == pytest.approx(1.1)
    assert pair.row("requests/s") == ("100 requests/s", "90.0 requests/s", "1.100", "0.90 to 1.10")
