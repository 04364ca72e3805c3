"""Freed memory that a process keeps: counted by the faults of a child that frees and allocates again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from torchkeeper.machine.allocator import keep_freed_memory

#: Faults of twenty rounds that each allocate and free four times 20 MB, after a first one.
CHILD = """
import resource, sys
from torchkeeper.machine.allocator import keep_freed_memory

def batch():
    [bytearray(20_000_000) for _ in range(4)]

kept = sys.argv[1] == "keep" and keep_freed_memory()
batch()
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 4 * 20_000_000 // 4096


def faults(how: str) -> tuple[bool, int]:
    """Whether the child kept its memory, and its faults."""
    done = subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept == "True", int(count)


def test_pages_of_freed_arrays_are_used_again() -> None:
    kept, count = faults("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert count < PAGES / 100
    assert faults("free")[1] > PAGES / 10


@pytest.mark.parametrize(
    "environ",
    [
        {"MALLOC_TRIM_THRESHOLD_": "0"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"},
    ],
)
def test_what_the_user_says_of_it_holds(environ: dict[str, str]) -> None:
    assert not keep_freed_memory(environ)
