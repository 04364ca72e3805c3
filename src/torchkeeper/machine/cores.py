"""Which cores a worker is pinned to: its share of those that the server may use."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

_NODES = Path("/sys/devices/system/node")


def usable_cores(node: int | None = None, folder: Path = _NODES) -> tuple[int, ...]:
    """The numbers of the cores that this process may use; none where processes are not pinned to cores.

    Args:
        node: the NUMA node that they are of; all of them where there is no such node.
        folder: where Linux lists its nodes.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return ()
    cores = sorted(affinity(0))
    if node is None:
        return tuple(cores)
    try:
        listed = _listed((folder / f"node{node}" / "cpulist").read_text())
    except (OSError, UnicodeDecodeError):
        listed = set()
    return tuple(core for core in cores if core in listed) or tuple(cores)


def _listed(text: str) -> set[int]:
    """The numbers of a list like `0-3,8`."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def share(cores: Sequence[int], worker: int, workers: int, each: int | None = None) -> tuple[int, ...]:
    """The cores of one worker.

    Args:
        cores: those that all of them have.
        worker: its number, from 0.
        workers: how many there are.
        each: cores that each has, in turn; None: equal shares, and one each where there are more workers.
    """
    count = len(cores)
    if each is not None:
        return tuple(sorted({cores[(worker * each + place) % count] for place in range(min(each, count))}))
    if workers > count:
        return (cores[worker % count],)
    return tuple(cores[worker * count // workers : (worker + 1) * count // workers])


def shares_left(
    cores: Sequence[int], held: Iterable[Sequence[int]], workers: int, each: int | None = None
) -> list[tuple[int, ...]]:
    """The cores of new workers beside those that keep theirs: the shares whose cores fewest of these have.

    Args:
        cores, each: as `share` takes them.
        held: the cores of each worker that stays.
        workers: how many there are then.
    """
    staying = list(held)
    taken = Counter(core for one in staying for core in one)
    shares = [share(cores, number, workers, each) for number in range(workers)]
    shares.sort(key=lambda one: sum(taken[core] for core in one) / len(one))
    return shares[: workers - len(staying)]
