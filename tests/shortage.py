"""What a process can run short of: descriptors, room in files, threads."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NoReturn

import pytest

from torchkeeper.machine import threads


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process opens nothing more."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    with _limited(resource.RLIMIT_NOFILE, free):
        yield


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    with _limited(resource.RLIMIT_FSIZE, size):
        yield


@contextmanager
def _limited(what: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@contextmanager
def no_threads() -> Iterator[None]:
    """The system gives no thread for blocking work."""

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_thread", SimpleNamespace(start_new_thread=refuse))
        yield
