"""Imports without looking for garbage: they make hundreds of thousands of objects, and hardly any is it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

#: As many new objects as never come together. Not 0, which says the same: that a module may choose itself.
_NEVER = 2**31 - 1
#: The thresholds before each such time that is on, the outermost first.
_before: list[tuple[int, int, int]] = []


@contextmanager
def no_collection() -> Iterator[None]:
    """A time in which no garbage is looked for by itself; what is changed of that meanwhile, stays.

    Not in what is forked meanwhile: a module may start a pool of processes, which never come to the end here.
    """
    _before.append(gc.get_threshold())
    gc.set_threshold(_NEVER)
    try:
        yield
    finally:
        _resume(_before.pop())


def _resume(before: tuple[int, int, int]) -> None:
    if gc.get_threshold()[0] == _NEVER:
        gc.set_threshold(*before)


def _resume_in_fork() -> None:
    if _before:
        _resume(_before[0])


os.register_at_fork(after_in_child=_resume_in_fork)
