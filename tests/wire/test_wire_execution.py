"""How a model is to be run, as a value: it arrives as it was sent, and nobody changes it."""

from __future__ import annotations

import msgspec
import pytest

from torchkeeper.wire.execution import AS_IT_IS, Execution


def test_it_travels_by_the_names_of_files_and_says_only_what_is_wanted() -> None:
    wanted = Execution(threads=2, memory_format="channels_last")
    assert msgspec.to_builtins(wanted) == {"threads": 2, "memoryFormat": "channels_last"}
    assert msgspec.convert(msgspec.to_builtins(wanted), Execution) == wanted
    assert msgspec.to_builtins(AS_IT_IS) == {}


def test_hints_and_samples_are_nothing_that_a_worker_applies() -> None:
    assert not Execution(hint="latency", warmup=("3.png",)).applies
    assert Execution(threads=2).applies


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        AS_IT_IS.threads = 2  # type: ignore[misc]  # this is what is tried
