"""Counters, gauges and histograms: what is shown of them, and what a log line says."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.cell import Cell, Counter, Gauge, Histogram


def test_a_counter_adds_and_its_line_says_the_growth() -> None:
    cell = Counter()
    assert (cell.points(False), cell.points(True), cell.take()) == ([], [("", "", 0.0)], None)
    cell.update(2)
    cell.update(1.5)
    assert cell.points(False) == [("", "", 3.5)]
    assert (cell.take(), cell.take()) == (3.5, None)
    cell.update(1)
    assert cell.take() == 1


def test_a_gauge_keeps_the_last_value_and_its_line_says_it() -> None:
    cell = Gauge()
    assert (cell.points(True), cell.take()) == ([], None)
    cell.update(2)
    cell.update(0)
    assert cell.points(False) == [("", "", 0)]
    assert (cell.take(), cell.take()) == (0, None)


def test_a_histogram_counts_per_bucket_and_its_line_says_the_mean() -> None:
    cell = Histogram((0.5, 1.0))
    assert (cell.points(False), cell.take()) == ([], None)
    assert len(cell.points(True)) == 5
    for value in (0.5, 0.75, 1.0, 7):
        cell.update(value)
    assert cell.points(False) == [
        ("_bucket", "0.5", 1),
        ("_bucket", "1.0", 3),
        ("_bucket", "+Inf", 4),
        ("_count", "", 4),
        ("_sum", "", 9.25),
    ]
    assert (cell.take(), cell.take()) == (9.25 / 4, None)
    cell.update(2)
    assert cell.take() == pytest.approx(2)


@pytest.mark.parametrize("cell", [Counter(), Gauge(), Histogram()])
def test_all_are_cells(cell: Cell) -> None:
    cell.update(1.0)
    assert cell.take() == 1.0
