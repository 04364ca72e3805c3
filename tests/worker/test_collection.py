"""Imports without garbage collections: none meanwhile, and then again as it was, or as a module wants it."""

from __future__ import annotations

import gc

import pytest

from torchkeeper.worker.collection import no_collection


def test_none_is_made_meanwhile_and_then_as_ever() -> None:
    before, told = gc.get_threshold(), []
    gc.callbacks.append(lambda phase, info: told.append(phase))
    try:
        with pytest.raises(ValueError, match="within"), no_collection():  # noqa: PT012
            kept = [[] for _ in range(10 * before[0])]
            assert not told
            raise ValueError("within")
        kept += [[] for _ in range(10 * before[0])]
        assert told
    finally:
        gc.callbacks.pop()
    assert gc.get_threshold() == before


def test_what_a_module_chooses_stays() -> None:
    before = gc.get_threshold()
    try:
        with no_collection():
            gc.set_threshold(50_000, 5, 5)
        assert gc.get_threshold() == (50_000, 5, 5)
    finally:
        gc.set_threshold(*before)
