"""Imports without garbage collections: none meanwhile, and then again as it was, or as a module wants it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from torchkeeper.worker.collection import no_collection


def test_none_is_made_meanwhile_and_then_as_ever() -> None:
    before, told = gc.get_threshold(), []
    gc.callbacks.append(lambda phase, info: told.append(phase))
    try:
        with pytest.raises(ValueError, match="within"), no_collection():  # noqa: PT012
            told.clear()  # of before
            kept = [[] for _ in range(10 * before[0])]
            assert not told
            raise ValueError("within")
        kept += [[] for _ in range(10 * before[0])]
        assert told
    finally:
        gc.callbacks.pop()
    assert gc.get_threshold() == before


@pytest.mark.parametrize("chosen", [(50_000, 5, 5), (0, 10, 10)])
def test_what_a_module_chooses_stays(chosen: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    try:
        with no_collection():
            gc.set_threshold(*chosen)
        assert gc.get_threshold() == chosen
    finally:
        gc.set_threshold(*before)


def test_one_such_time_within_another_ends_with_that() -> None:
    before = gc.get_threshold()
    with no_collection():
        with no_collection():
            pass
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_is_forked_meanwhile_looks_for_garbage() -> None:
    """Its own process forks, for this one may have threads."""
    source = (
        "import gc, os\n"
        "from torchkeeper.worker.collection import no_collection\n"
        "before = gc.get_threshold()\n"
        "def forked():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(0 if gc.get_threshold() == before else 1)\n"
        "    return os.waitpid(child, 0)[1]\n"
        "with no_collection(), no_collection():\n"
        "    print(forked(), gc.get_threshold() == before)\n"
        "print(forked(), gc.get_threshold() == before)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["0", "False", "0", "True"], "")
