"""Which cores workers are pinned to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchkeeper.machine.cores import share, shares_left, usable_cores

pinned = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")


@pytest.mark.parametrize(
    ("workers", "each", "shares"),
    [
        (1, None, [(0, 2, 4, 6, 8)]),
        (2, None, [(0, 2), (4, 6, 8)]),
        (5, None, [(0,), (2,), (4,), (6,), (8,)]),
        (6, None, [(0,), (2,), (4,), (6,), (8,), (0,)]),
        (3, 2, [(0, 2), (4, 6), (0, 8)]),
        (2, 9, [(0, 2, 4, 6, 8), (0, 2, 4, 6, 8)]),
    ],
)
def test_shares(workers: int, each: int | None, shares: list[tuple[int, ...]]) -> None:
    assert [share((0, 2, 4, 6, 8), worker, workers, each) for worker in range(workers)] == shares


@pytest.mark.parametrize(
    ("held", "workers", "shares"),
    [
        ([], 2, [(0, 1), (2, 3)]),
        ([(2,), (3,)], 4, [(0,), (1,)]),  # the first two of four have left
        ([(0, 1), (2, 3)], 4, [(0,), (1,)]),
        ([(0, 1, 2, 3)], 2, [(0, 1)]),
        ([(0,), (1,)], 2, []),
    ],
)
def test_new_workers_get_what_others_have_left(
    held: list[tuple[int, ...]], workers: int, shares: list[tuple[int, ...]]
) -> None:
    assert shares_left((0, 1, 2, 3), held, workers) == shares


@pinned
@pytest.mark.parametrize(
    ("listed", "there"), [("{first}\n", True), ("{first}-{first}\n", True), ("99990-99999\n", False)]
)
def test_the_cores_of_a_node(tmp_path: Path, listed: str, there: bool) -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1" / "cpulist").write_text(listed.format(first=cores[0]))
    assert usable_cores(1, tmp_path) == (cores[:1] if there else cores)
    assert usable_cores(7, tmp_path) == cores
    assert usable_cores(None, tmp_path) == cores
