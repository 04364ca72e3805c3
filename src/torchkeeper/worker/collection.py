"""Imports without looking for garbage: they make hundreds of thousands of objects, and hardly any is it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """A time in which no garbage is looked for by itself; what is changed of that meanwhile, stays.

    Importing torchvision takes three quarters of its time then.
    """
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == 0:
            gc.set_threshold(*before)
